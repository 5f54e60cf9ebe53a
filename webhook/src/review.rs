//! `AdmissionReview` v1, read from bytes: typed, borrowed, and nothing decoded that is not
//! asked for. The objects stay raw JSON.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use thiserror::Error;

/// What is expected, for the text of every refusal.
const EXPECTED: &str = "expected the JSON of an AdmissionReview, apiVersion admission.k8s.io/v1, \
                        with a request that has a uid";

/// Why bytes are no request that could be answered: there is no uid to echo.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoReview {
    /// Nothing.
    #[error("{EXPECTED}; found an empty body")]
    Empty,
    /// Not UTF-8, not JSON, cut off, or a field of another type.
    #[error("{EXPECTED}; found {0}")]
    Json(String),
    /// Another kind.
    #[error("{EXPECTED}; found kind {0:?}")]
    Kind(String),
    /// Another version.
    #[error("{EXPECTED}; found apiVersion {0:?}: set admissionReviewVersions to [\"v1\"]")]
    Version(String),
    /// A review without request, for example an answer.
    #[error("{EXPECTED}; found no request")]
    NoRequest,
    /// A request without uid.
    #[error("{EXPECTED}; found a request without uid")]
    NoUid,
}

/// What the API server asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// To be echoed.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// The kind of the object.
    #[serde(borrow, default)]
    pub kind: GroupVersionKind<'a>,
    /// `status`, `scale`, ...; empty for the object itself.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// The object's name; empty with `generateName`.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The object's namespace; a Namespace's own name.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// What is done to it.
    #[serde(default)]
    pub operation: Operation,
    /// Who does it.
    #[serde(borrow, default)]
    pub user_info: UserInfo<'a>,
    /// The object as it is to be.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Nothing of it will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Group, version and kind.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct GroupVersionKind<'a> {
    /// Empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// For example `v1`.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// For example `NetworkPolicy`.
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
}

/// Who asks.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct UserInfo<'a> {
    /// The user.
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// `CREATE`
    Create,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// None that we know.
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

// === impl Operation ===

impl Operation {
    /// As the API server writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Other => "OTHER",
        }
    }
}

/// Reads a request.
///
/// # Errors
/// Bytes that cannot be answered in band.
pub fn parse(bytes: &[u8]) -> Result<Request<'_>, NoReview> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(NoReview::Empty);
    }
    // Once over the whole body, because a raw value is checked for it only in part.
    let text = std::str::from_utf8(bytes)
        .map_err(|e| NoReview::Json(format!("bytes that are no UTF-8 at {}", e.valid_up_to())))?;
    let review: Review =
        serde_json::from_str(text).map_err(|e| NoReview::Json(format!("no such JSON: {e}")))?;
    if review.kind != "AdmissionReview" {
        return Err(NoReview::Kind(shorten(&review.kind)));
    }
    if review.api_version != "admission.k8s.io/v1" {
        return Err(NoReview::Version(shorten(&review.api_version)));
    }
    let request = review.request.ok_or(NoReview::NoRequest)?;
    if request.uid.is_empty() {
        return Err(NoReview::NoUid);
    }
    Ok(request)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The uid in the first bytes of a request, for an answer to a body that nobody is going
/// to read: the API server writes `"request":{"uid":"..."` near the beginning.
pub fn uid_of_beginning(bytes: &[u8]) -> Option<&str> {
    const BEFORE: &[u8] = br#""request":{"uid":""#;
    let at = bytes.windows(BEFORE.len()).position(|w| w == BEFORE)? + BEFORE.len();
    let rest = &bytes[at..];
    let uid = &rest[..rest.iter().position(|b| *b == b'"')?];
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if uid.is_empty() || !uid.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(uid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(b"" => NoReview::Empty; "empty")]
    #[test_case(b" \n" => NoReview::Empty; "blank")]
    #[test_case(b"{}" => NoReview::Kind(String::new()); "an object without kind")]
    #[test_case(br#"{"kind":"Pod"}"# => NoReview::Kind("Pod".into()); "another kind")]
    #[test_case(br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1"}}"#
        => NoReview::Version("admission.k8s.io/v1beta1".into()); "another version")]
    #[test_case(br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#
        => NoReview::NoRequest; "no request")]
    #[test_case(br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#
        => NoReview::NoUid; "no uid")]
    fn is_no_review(bytes: &[u8]) -> NoReview {
        parse(bytes).unwrap_err()
    }

    #[test_case(b"AdmissionReview" => true; "no JSON")]
    #[test_case(br#"{"kind":"AdmissionReview","apiVersion":"adm"# => true; "cut off")]
    #[test_case(b"{\"kind\":\"\xff\xfe\"}" => true; "no UTF-8")]
    #[test_case(b"[1,2]" => true; "a list")]
    #[test_case(br#"{"kind":"AdmissionReview","request":{"uid":7}}"# => true; "a uid that is a number")]
    fn is_no_json(bytes: &[u8]) -> bool {
        let error = parse(bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected the JSON of an AdmissionReview")
        );
        matches!(error, NoReview::Json(_))
    }

    #[test]
    fn borrows_and_tolerates_fields_that_are_new() {
        let bytes = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","later":{},
            "request":{"uid":"u-1","operation":"PATCH","later":[1],"oldObject":null,
            "kind":{"group":"","version":"v1","kind":"Pod"},"object":{"a": {"b":[]}}}}"#;
        let request = parse(bytes).unwrap();
        assert!(matches!(request.uid, Cow::Borrowed("u-1")));
        assert_eq!(request.operation, Operation::Other);
        assert_eq!(request.object.unwrap().get(), r#"{"a": {"b":[]}}"#);
        assert!(request.old_object.is_none());
    }

    #[test]
    fn raw_objects_may_be_nested_as_deep_as_they_like() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","object":{deep}}}}}"#
        );
        assert_eq!(parse(text.as_bytes()).unwrap().uid, "1");
    }

    #[test_case(br#"{"kind":"AdmissionReview","request":{"uid":"a-1","kind":{"# => Some("a-1"); "as the API server writes it")]
    #[test_case(br#"{"kind":"AdmissionReview","request":{"uid":"a-1"# => None; "cut within the uid")]
    #[test_case(br#"{"request":{"uid":"a\"b"}"# => None; "an escape")]
    #[test_case(b"" => None; "nothing")]
    fn beginning(bytes: &[u8]) -> Option<&str> {
        uid_of_beginning(bytes)
    }
}
