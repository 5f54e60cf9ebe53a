//! `ringfence-e2e demo`: the product in half a minute, with real packets.

mod admission;
mod shop;

use crate::case::{Setup, Stage};
use crate::probe::{Outcome, Stream};
use crate::truth::{Cell, Row, Table};
use anyhow::{Context, Result, ensure};
use owo_colors::{OwoColorize, Stream::Stdout};
use ringfence_policy::evaluate::{Evaluator, explain};
use shop::{DOORS, OBJECTS, OUTSIDE, POLICIES};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The cell that is explained, and whose connection is cut while it runs.
const INTRUDER: (&str, &str, u16) = ("tenant/web", "shop/database", 5432);
/// How long the intruder's connection runs before the policies come.
const LIVELY: Duration = Duration::from_millis(500);
/// How long it is watched afterwards.
const WATCH: Duration = Duration::from_millis(700);

/// Plays the demonstration. True when every packet did what the policies say.
pub fn run(enforcer: PathBuf) -> Result<bool> {
    let began = Instant::now();
    let said = shop::snapshot(&OBJECTS)?;
    title("A cluster: two nodes, six pods, one client outside");
    for node in said.nodes.values() {
        let pods = said.pods.values().filter(|p| p.node == node.name);
        let names: Vec<String> = pods.map(|p| p.key.to_string()).collect();
        println!("  {:<8} {}", node.name, names.join("  "));
    }
    println!("  {:<8} {}", OUTSIDE.0, OUTSIDE.1);
    println!(
        "  Nodes and pods are network namespaces of this machine; an enforcer runs on each node."
    );

    let setup = Setup {
        enforcer: Some(enforcer),
        ..Setup::default()
    };
    let mut stage =
        Stage::create(shop::topology(&said)?, &[], &setup).context("building the cluster")?;
    for text in OBJECTS {
        stage.apply(text, "default")?;
    }
    listen(&mut stage)?;
    done(began, "the cluster is up and both enforcers are ready");

    title("Before: no policy, so everybody reaches everybody");
    let before = probe(&stage)?;
    print_matrix(&before, None);
    let right = before.iter().filter(|r| r.is_right()).count();

    title("A connection that should not be there");
    let (from, to, port) = INTRUDER;
    let cell = Cell {
        from: from.into(),
        to: to.into(),
        v4: true,
        transport: shop::transport(port),
    };
    let stream = Stream::open(stage.net()?, &stage.shot(&cell)?)?;
    std::thread::sleep(LIVELY);
    let (client, server) = stream.received();
    println!(
        "  {from} talks to {to}:{port}: {} messages so far, and it goes on.",
        client + server
    );

    title("Six NetworkPolicies come");
    for (name, line) in headlines() {
        println!(
            "  {:<16} {line}",
            name.if_supports_color(Stdout, |t| t.bold())
        );
    }
    let applying = Instant::now();
    stage.apply(POLICIES, "shop")?;
    done(
        applying,
        "both kernels enforce them, counted from the moment the file was written",
    );
    let cut = last_words(&stream);
    match &cut {
        Ok(heard) => println!(
            "  The connection of {from} is {}: nothing has passed in {} ms ({heard}).",
            "cut".if_supports_color(Stdout, |t| t.red()),
            WATCH.as_millis()
        ),
        Err(leak) => println!("  The connection of {from} is STILL ALIVE: {leak}"),
    }

    title("After");
    let after = probe(&stage)?;
    print_matrix(&after, Some(&before));
    let right = right + after.iter().filter(|r| r.is_right()).count();
    let all = before.len() + after.len();
    println!("  {right} of {all} probes, before and after, ended exactly as the policies say.");
    for row in before.iter().chain(&after).filter(|r| !r.is_right()) {
        println!(
            "  WRONG: {}: expected {}, saw {}",
            row.cell, row.expected.outcome, row.observed.outcome
        );
    }

    title(&format!("One cell explained: {from} -> {to}:{port}"));
    explain_cell(&stage, &cell)?;
    drop(stream);

    let (answered, questions) = admission::show(&mut stage)?;
    drop(stage);
    println!();
    done(began, "in all; nothing is left on this machine");
    next();
    Ok(right == all && cut.is_ok() && answered == questions)
}

/// Servers on the shop's ports.
fn listen(stage: &mut Stage) -> Result<()> {
    let (net, world) = stage.net_mut()?;
    for (name, port, _) in DOORS {
        let host = world.host(name)?;
        let crate::probe::Transport::Port(protocol, port) = shop::transport(port) else {
            continue;
        };
        net.listen(
            &host.name,
            &host.netns,
            &host.addresses,
            &[(protocol, port)],
        )?;
    }
    Ok(())
}

/// Knocks once.
fn probe_one(stage: &Stage, cell: &Cell) -> Result<Row> {
    let snapshot = stage.snapshot()?;
    let evaluator = Evaluator::new(&snapshot, stage.settings());
    let expected = stage.expected(&evaluator, cell)?;
    let mut table = Table::default();
    let asked = [(cell, expected.outcome)];
    table.expect(cell.clone(), expected)?;
    for observation in stage.probe(&asked)? {
        table.observe(cell, observation)?;
    }
    table.finish()?.pop().context("no answer to a probe")
}

/// Everybody knocks at every door, at once.
fn probe(stage: &Stage) -> Result<Vec<Row>> {
    let snapshot = stage.snapshot()?;
    let evaluator = Evaluator::new(&snapshot, stage.settings());
    let mut table = Table::default();
    let mut cells = Vec::new();
    for from in clients(stage) {
        for (to, port, _) in DOORS {
            if from == to {
                continue;
            }
            let cell = Cell {
                from: from.clone(),
                to: to.into(),
                v4: true,
                transport: shop::transport(port),
            };
            let expected = stage.expected(&evaluator, &cell)?;
            cells.push((cell.clone(), expected.outcome));
            table.expect(cell, expected)?;
        }
    }
    let asked: Vec<(&Cell, Outcome)> = cells.iter().map(|(c, o)| (c, *o)).collect();
    for ((cell, _), observation) in cells.iter().zip(stage.probe(&asked)?) {
        table.observe(cell, observation)?;
    }
    table.finish()
}

fn clients(stage: &Stage) -> Vec<String> {
    let pods = stage.topology().pods.iter();
    let mut names: Vec<String> = pods
        .map(|p| format!("{}/{}", p.namespace, p.name))
        .collect();
    names.push(OUTSIDE.0.into());
    names
}

/// Rows are clients, columns doors; what changed since `before` is marked.
fn print_matrix(rows: &[Row], before: Option<&[Row]>) {
    let key = |r: &Row| (r.cell.from.clone(), r.cell.to.clone(), r.cell.transport);
    let old: BTreeMap<_, _> = before
        .unwrap_or_default()
        .iter()
        .map(|r| (key(r), r.observed.outcome))
        .collect();
    let by_key: BTreeMap<_, &Row> = rows.iter().map(|r| (key(r), r)).collect();
    print!("  {:<24}", "");
    for (to, port, _) in DOORS {
        let short = to.rsplit('/').next().unwrap_or(to);
        print!("{:>15}", format!("{short}:{port}"));
    }
    println!();
    let mut froms: Vec<&str> = rows.iter().map(|r| r.cell.from.as_str()).collect();
    froms.dedup();
    for from in froms {
        print!("  {from:<24}");
        for (to, port, _) in DOORS {
            let key = (from.to_owned(), to.to_owned(), shop::transport(port));
            let Some(row) = by_key.get(&key) else {
                print!("{:>15}", "-");
                continue;
            };
            let seen = row.observed.outcome;
            let changed = old.get(&key).is_some_and(|was| *was != seen);
            let word = format!(
                "{:>15}",
                if changed {
                    format!("> {seen}")
                } else {
                    seen.to_string()
                }
            );
            if seen == Outcome::Allowed {
                print!("{}", word.if_supports_color(Stdout, |t| t.green()));
            } else {
                print!("{}", word.if_supports_color(Stdout, |t| t.red()));
            }
        }
        println!();
    }
    if before.is_some() {
        println!(
            "  > changed by the policies. allowed: a nonce came back; rejected: reset or port unreachable."
        );
    }
}

/// Whether the connection is dead, and how its ends learned it.
fn last_words(stream: &Stream) -> std::result::Result<String, String> {
    let before = stream.received();
    std::thread::sleep(WATCH);
    let after = stream.received();
    let passed = (after.0 - before.0) + (after.1 - before.1);
    if passed > 0 {
        return Err(format!(
            "{passed} messages passed after the policies were in the kernel"
        ));
    }
    let end = |side| stream.broken(side).unwrap_or_else(|| "silence".into());
    Ok(format!(
        "the client saw: {}; the server saw: {}",
        end(crate::probe::Side::Client),
        end(crate::probe::Side::Server)
    ))
}

/// The policies' names and what their comments say first.
fn headlines() -> Vec<(String, String)> {
    POLICIES
        .split("---\n")
        .filter_map(|text| {
            let name = text.lines().find_map(|l| l.trim().strip_prefix("name: "))?;
            let comment: Vec<&str> = text
                .lines()
                .filter_map(|l| l.strip_prefix('#'))
                .map(str::trim)
                .collect();
            let comment = comment.join(" ");
            // "1. Nothing gets in. More about it": the second of these sentences.
            let sentence = comment.split(". ").nth(1)?;
            Some((name.to_owned(), sentence.to_owned()))
        })
        .collect()
}

fn explain_cell(stage: &Stage, cell: &Cell) -> Result<()> {
    let snapshot = stage.snapshot()?;
    let evaluator = Evaluator::new(&snapshot, stage.settings());
    let expected = stage.expected(&evaluator, cell)?;
    let verdict = expected.verdict.context("the oracle has no verdict")?;
    ensure!(
        !verdict.allowed(),
        "{cell} is allowed: the shop's policies have changed"
    );
    println!("  egress    {}", verdict.egress);
    println!("  ingress   {}", verdict.ingress);
    for sentence in explain::what_would_change(&evaluator, &expected.flow) {
        println!("  {sentence}");
    }
    Ok(())
}

fn title(text: &str) {
    println!("\n{}", text.if_supports_color(Stdout, |t| t.bold()));
}

fn done(since: Instant, what: &str) {
    println!("  {:.2} s: {what}", since.elapsed().as_secs_f64());
}

fn next() {
    println!(
        "\nWhat to do next
  ./target/debug/ringfence explain -f examples/shop --from tenant/web --to shop/database:5432
  ./target/debug/ringfence render  -f examples/shop --node node-1      what a node puts into its kernel
  edit examples/shop/40-policies.yaml and run `make demo` again
  make test                                                            all cases, on namespaces
  make e2e                                                             the same with a real kube-apiserver (needs Go)"
    );
}
