//! One page with everything in it, for people. It loads nothing and needs no server.

use super::model::{CaseReport, Report, RowReport};
use crate::probe::Outcome;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page as HTML.
pub fn render(report: &Report) -> Result<String> {
    // The data goes in last: nothing in it is taken for a place to fill.
    let frame = PAGE
        .replacen("/*STYLE*/", STYLE, 1)
        .replacen("/*SCRIPT*/", SCRIPT, 1);
    Ok(frame.replacen("/*DATA*/", &embedded(&data(report))?, 1))
}

/// JSON that cannot end the script element that it stands in, nor begin a comment.
fn embedded(data: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(data)?;
    Ok(text.replace('<', "\\u003c"))
}

/// Every text of a row is kept once, in `texts`; rows are numbers. A list of some hundred
/// thousand probes would otherwise be a page of 100 MB.
fn data(report: &Report) -> Value {
    let mut texts = Texts::default();
    let cases: Vec<Value> = report
        .cases
        .iter()
        .map(|case| as_json(case, &mut texts))
        .collect();
    let outcomes = OUTCOMES.map(|o| json!({ "word": o.as_str(), "letter": o.letter() }));
    json!({ "runs": report.runs, "cases": cases, "texts": texts.all, "outcomes": outcomes })
}

/// In the order of their numbers in rows.
const OUTCOMES: [Outcome; 5] = [
    Outcome::Allowed,
    Outcome::Rejected,
    Outcome::Dropped,
    Outcome::Refused,
    Outcome::Error,
];

fn as_json(case: &CaseReport, texts: &mut Texts) -> Value {
    let tables: Vec<Value> = case
        .tables
        .iter()
        .map(|table| {
            let rows: Vec<[usize; 10]> = table.rows.iter().map(|row| numbers(row, texts)).collect();
            json!({ "title": table.title, "rows": rows })
        })
        .collect();
    json!({
        "name": case.name,
        "source": case.source,
        "tags": case.tags,
        "fabric": case.fabric,
        "status": case.status,
        "reason": case.reason,
        "seconds": case.seconds,
        "waited": case.waited,
        "repeat": case.repeat,
        "notes": case.notes,
        "failures": case.failures,
        "tables": tables,
    })
}

/// From, to, what was sent, expected, observed, right, egress, ingress, seen, words.
fn numbers(row: &RowReport, texts: &mut Texts) -> [usize; 10] {
    let number = |outcome| OUTCOMES.iter().position(|o| *o == outcome).unwrap_or(4);
    let sent = format!("{} {}", row.transport, row.family);
    let mut said = |text: Option<&str>| texts.number(text.unwrap_or_default());
    [
        said(Some(&row.from)),
        said(Some(&row.to)),
        said(Some(&sent)),
        number(row.expected),
        number(row.observed),
        usize::from(row.right),
        said(row.egress.as_deref()),
        said(row.ingress.as_deref()),
        said(row.seen.as_deref().map(without_port)),
        said(Some(&row.words)),
    ]
}

/// Ports of clients are all different, and nobody asks for them.
fn without_port(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(address, _)| address)
}

#[derive(Default)]
struct Texts {
    all: Vec<String>,
    known: HashMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_data_ends_its_element() {
        let text = embedded(&json!({ "name": "</script><!--<script>" })).unwrap();
        assert!(!text.contains('<'), "{text}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["name"], "</script><!--<script>");
    }

    #[test]
    fn the_page_is_whole_and_asks_for_nothing() {
        let page = render(&Report::default()).unwrap();
        for place in ["/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"] {
            assert!(!page.contains(place), "{place} was not filled");
        }
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_text_is_kept_once() {
        let mut texts = Texts::default();
        let numbers: Vec<usize> = ["a", "b", "a"].iter().map(|t| texts.number(t)).collect();
        assert_eq!((numbers, texts.all.len()), (vec![0, 1, 0], 2));
    }
}
