//! docs/checks.md and docs/checks-config.md are made from the catalogue and the schema.
//!
//! After a change of either: `RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-checks --test docs`
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use ringfence_checks::catalogue::{CATALOGUE, Check, Mend, Scope};
use ringfence_checks::config::schema;
use ringfence_checks::{Config, Level};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

const AGAIN: &str = "RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-checks --test docs";
const BEGIN: &str = "<!-- generated, see checks/tests/docs.rs -->\n";
const END: &str = "<!-- end of generated -->\n";

fn document(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(name)
}

/// Holds the part of a document between the marks to `wanted`, or writes it.
fn hold(name: &str, wanted: &str) {
    let text = fs::read_to_string(document(name)).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::write(document(name), [before, BEGIN, wanted, END, after].concat()).unwrap();
    } else {
        assert!(
            found == wanted,
            "docs/{name} is not of this catalogue: {AGAIN}"
        );
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Off => "",
        _ => level.as_str(),
    }
}

fn needs(check: &Check) -> &'static str {
    match check.scope {
        Scope::Object => "the object",
        Scope::Cluster => "the cluster",
        Scope::File => "the file",
    }
}

/// An example without the ends of lines that go on and on.
fn readable(example: &str) -> String {
    let lines = example.trim_end().lines().map(|line| {
        if line.len() <= 200 {
            return line.to_owned();
        }
        format!("{}... # and so on, {} characters", &line[..80], line.len())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn catalogue() -> String {
    let mut out = String::from(
        "\n| Check | baseline | strict | looks at | what is wrong |\n|---|---|---|---|---|\n",
    );
    for check in CATALOGUE {
        let (id, title) = (check.id, check.title.replace('|', "\\|"));
        let (baseline, strict) = (level(check.baseline), level(check.strict));
        let needs = needs(check);
        writeln!(
            out,
            "| [{id}](#{id}) | {baseline} | {strict} | {needs} | {title} |"
        )
        .unwrap();
    }
    for check in CATALOGUE {
        let kinds: Vec<&str> = check.kinds.iter().map(|k| k.as_str()).collect();
        writeln!(out, "\n## {}\n\n**{}**\n", check.id, capital(check.title)).unwrap();
        write!(out, "Judges: {}. ", kinds.join(", ")).unwrap();
        write!(
            out,
            "Baseline: {}, strict: {}. ",
            check.baseline.as_str(),
            check.strict.as_str()
        )
        .unwrap();
        write!(out, "Looks at {}.", needs(check)).unwrap();
        out += match check.mends {
            Mend::Author => "",
            Mend::Patch => " `ringfence lint --fix` can mend it.",
            Mend::Webhook => " The webhook and `ringfence lint --fix` can mend it.",
        };
        writeln!(out, "\n\n{}", check.text.trim_end()).unwrap();
        writeln!(out, "\nFound:\n\n```yaml\n{}\n```", readable(check.bad)).unwrap();
        writeln!(
            out,
            "\nNot found:\n\n```yaml\n{}\n```",
            readable(check.good)
        )
        .unwrap();
    }
    out + "\n"
}

/// With a capital letter, unless it begins with a name such as `externalTrafficPolicy`.
fn capital(text: &str) -> String {
    let mut first = text.split(' ').take(1).flat_map(str::chars);
    if !first.all(|c| c.is_ascii_lowercase() || c == '\'') {
        return text.to_owned();
    }
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).collect()
}

#[test]
fn the_checks_are_those_of_the_catalogue() {
    hold("checks.md", &catalogue());
}

/// The type of a field, in words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return match &self::schema()["$defs"][name] {
            object if object["type"] == "object" => format!("[{name}](#{})", name.to_lowercase()),
            _ => "word".to_owned(),
        };
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return kind(any.iter().find(|s| s["type"] != "null").unwrap());
    }
    let of = |part: &str| kind(&schema[part]);
    match &schema["type"] {
        Value::Array(types) => {
            kind(&serde_json::json!({"type": types[0], "items": schema["items"]}))
        }
        word if word == "array" => format!("list of {}", of("items")),
        word if word == "object" => format!("map to {}", of("additionalProperties")),
        word if word == "boolean" => "`true` or `false`".to_owned(),
        word => word.as_str().unwrap().to_owned(),
    }
}

fn fields(out: &mut String, schema: &Value) {
    let one_line = |text: &Value| {
        text.as_str()
            .unwrap()
            .replace('\n', " ")
            .replace('|', "\\|")
    };
    *out += "\n| Field | Value | |\n|---|---|---|\n";
    for (name, field) in schema["properties"].as_object().unwrap() {
        let text = one_line(&field["description"]);
        writeln!(out, "| `{name}` | {} | {text} |", kind(field)).unwrap();
    }
}

#[test]
fn the_fields_are_those_of_the_schema() {
    let schema = schema();
    let mut out = String::new();
    fields(&mut out, &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        if definition["type"] == "object" {
            let text = definition["description"].as_str().unwrap();
            writeln!(out, "\n### {name}\n\n{text}").unwrap();
            fields(&mut out, definition);
        }
    }
    hold("checks-config.md", &(out + "\n"));
}

#[test]
fn the_schema_is_published() {
    let path = document("checks-config.schema.json");
    let wanted = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::write(path, wanted).unwrap();
    } else {
        assert!(fs::read_to_string(path).unwrap() == wanted, "{AGAIN}");
    }
}

/// Every YAML block of the document is a configuration, and the long one names every field.
#[test]
fn the_examples_of_the_configuration_are_read() {
    let text = fs::read_to_string(document("checks-config.md")).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|b| b.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    let mut longest = Value::Null;
    for block in blocks {
        let value: Value = serde_saphyr::from_str(block).unwrap();
        Config::from_value(&value).unwrap();
        if value.to_string().len() > longest.to_string().len() {
            longest = value;
        }
    }
    for (name, field) in schema()["properties"].as_object().unwrap() {
        assert!(!longest[name].is_null(), "{name}: {field}");
    }
}
