//! Objects as they are written in files, and the lines of their fields.

use super::syntax;
use crate::Place;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;
use std::fmt;
use std::io::Cursor;

/// An object of a file.
#[derive(Clone, Debug)]
pub struct Written {
    /// File and line.
    pub place: Place,
    /// What is written; with the default namespace where that had to be put in.
    pub value: Value,
    /// No namespace is written.
    pub implied_namespace: bool,
    /// Where it stands in the file.
    pub at: At,
}

/// Where an object stands in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The number of the document, from 0.
    pub document: usize,
    /// The place in `items` of a list, and in that of a list in the list.
    pub items: Vec<usize>,
}

/// The lines at which the fields of a file's documents stand.
#[derive(Debug)]
pub struct Outline(Vec<Spanned<Node>>);

/// One step from a document to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A field of an object.
    Key(String),
    /// An entry of a list.
    Index(usize),
}

#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

// === impl Outline ===

impl Outline {
    /// Reads a text as far as it is YAML (JSON is).
    pub fn read(text: &str) -> Self {
        let mut reader = Cursor::new(text);
        let read =
            serde_saphyr::read_with_options::<_, Spanned<Node>>(&mut reader, syntax::options());
        Self(read.map_while(Result::ok).collect())
    }

    /// The line of a field of an object, from 1; of what is there of the way to it when the
    /// field itself is not.
    pub fn line(&self, at: &At, steps: &[Step]) -> Option<usize> {
        let items = at
            .items
            .iter()
            .flat_map(|i| [Step::Key("items".to_owned()), Step::Index(*i)]);
        let mut node = self.0.get(at.document)?;
        let mut line = syntax::line(node.defined);
        for step in items.chain(steps.iter().cloned()) {
            let next = match (&node.value, step) {
                (Node::Map(fields), Step::Key(key)) => {
                    let field = fields.iter().find(|(k, _)| k.value == key);
                    field.map(|(key, node)| (syntax::line(key.defined), node))
                }
                (Node::List(entries), Step::Index(index)) => {
                    let entry = entries.get(index);
                    entry.map(|node| (syntax::line(node.defined), node))
                }
                _ => None,
            };
            let Some((at, below)) = next else { break };
            (line, node) = (at, below);
        }
        (line > 0).then_some(line)
    }
}

impl Step {
    /// The steps of a path such as `spec.ingress[0].from[1].ipBlock.cidr` or
    /// `metadata.annotations["a.b/c"]`.
    pub fn path(path: &str) -> Vec<Self> {
        let mut steps = Vec::new();
        let mut rest = path;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix("[\"") {
                let (key, after) = quoted.split_once("\"]").unwrap_or((quoted, ""));
                steps.push(Self::Key(key.to_owned()));
                rest = after;
            } else if let Some(index) = rest.strip_prefix('[') {
                let (index, after) = index.split_once(']').unwrap_or((index, ""));
                steps.push(match index.parse() {
                    Ok(index) => Self::Index(index),
                    Err(_) => Self::Key(index.to_owned()),
                });
                rest = after;
            } else {
                let plain = rest.strip_prefix('.').unwrap_or(rest);
                let end = plain.find(['.', '[']).unwrap_or(plain.len());
                let (key, after) = plain.split_at(end);
                if !key.is_empty() {
                    steps.push(Self::Key(key.to_owned()));
                }
                rest = after;
                if key.is_empty() && after.starts_with('.') {
                    rest = &after[1..];
                }
            }
        }
        steps
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Node::List(entries))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::documents_of;
    use std::path::Path;
    use test_case::test_case;

    const TEXT: &str = "\
# a comment
apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: a}
  spec:
    podSelector: {}
    ingress:
    - from:
      - podSelector: {}
      - ipBlock:
          cidr: 10.0.0.0/8
---
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata:
  name: b
  annotations:
    a.b/c: d
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
";

    #[test_case("spec.ingress[0].from[1].ipBlock.cidr", 14; "a field")]
    #[test_case("spec.ingress[0].from[1].ipBlock.except", 13; "a field that is missing")]
    #[test_case("spec.ingress[0].from[7]", 11; "an entry that is missing")]
    #[test_case("", 5; "the object")]
    fn lines(path: &str, expected: usize) {
        let at = At {
            document: 0,
            items: vec![0],
        };
        assert_eq!(
            Outline::read(TEXT).line(&at, &Step::path(path)),
            Some(expected)
        );
    }

    #[test]
    fn keys_with_dots_are_quoted() {
        let at = At {
            document: 1,
            items: Vec::new(),
        };
        let steps = Step::path("metadata.annotations[\"a.b/c\"]");
        assert_eq!(Outline::read(TEXT).line(&at, &steps), Some(21));
    }

    #[test]
    fn every_object_is_there_as_it_is_written() {
        let read = documents_of(Path::new("x.yaml"), TEXT.into(), "dev");
        let written: Vec<_> = read.written.iter().collect();
        let names = written
            .iter()
            .map(|w| w.value["metadata"]["name"].as_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(written[0].place.line, 5);
        assert_eq!(
            written[0].at,
            At {
                document: 0,
                items: vec![0]
            }
        );
        assert_eq!(written[0].value["metadata"]["namespace"], "dev");
        assert!(written[0].implied_namespace && written[1].implied_namespace);
        assert!(!written[2].implied_namespace);
        assert_eq!(read.snapshot.policies.len(), 1);
        assert!(
            read.problems
                .iter()
                .any(|p| p.cause == crate::Cause::ApiVersion)
        );
    }
}
