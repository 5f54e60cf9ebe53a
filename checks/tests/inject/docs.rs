//! The examples of `docs/injection.md` are what the webhook does.

use crate::{Hooks, KUBEADM, document};
use serde_json::Value;
use std::collections::BTreeMap;

/// The examples by name: before, after.
fn examples(text: &str) -> BTreeMap<&str, BTreeMap<&str, Value>> {
    let mut examples: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for part in text.split("<!-- ").skip(1) {
        let (marker, rest) = part.split_once(" -->\n```yaml\n").unwrap();
        let (moment, name) = marker.split_once(": ").unwrap();
        let (yaml, _) = rest.split_once("```").unwrap();
        examples
            .entry(name)
            .or_default()
            .insert(moment, document(yaml));
    }
    examples
}

/// The same with `HASH` for hashes.
fn shown(mut object: Value) -> Value {
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        for (key, value) in annotations {
            if key.starts_with("injected.") {
                let hash = value.as_str().unwrap().strip_prefix("v1:").unwrap();
                assert!(hash == "HASH" || hash.len() == 16, "{hash}");
                *value = "v1:HASH".into();
            }
        }
    }
    object
}

#[test]
fn the_page_tells_the_truth() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/injection.md");
    let page = std::fs::read_to_string(page).unwrap();
    let hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}");
    let examples = examples(&page);
    assert_eq!(examples.len(), 3);
    for (name, example) in &examples {
        let stored = hooks.stored(&example["before"], None);
        assert_eq!(shown(stored), shown(example["after"].clone()), "{name}");
    }
}
