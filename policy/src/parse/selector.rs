//! `LabelSelector` from raw JSON.

use super::errors::Errors;
use super::json::Field;
use super::names;
use crate::model::{Name, Operator, Requirement, Selector};

const KEY: &str = "write a label key: at most 63 letters, digits, dashes, dots and \
                   underscores, with an optional DNS prefix and a slash";
const VALUE: &str = "write a label value: at most 63 letters, digits, dashes, dots and \
                     underscores, beginning and ending with a letter or digit";

/// A selector; `{}` selects everything.
pub(super) fn selector(field: &Field, errors: &mut Errors) -> Selector {
    field.only(&["matchLabels", "matchExpressions"], errors);
    let mut requirements = Vec::new();
    let labels = field.get("matchLabels");
    let labels = labels.iter().flat_map(|labels| labels.entries(errors));
    for (key, value) in labels.collect::<Vec<_>>() {
        if !names::label_key(key) {
            value.fault(errors, KEY);
        }
        requirements.extend(label_value(&value, errors).map(|value| Requirement {
            key: key.into(),
            operator: Operator::In(vec![value]),
        }));
    }
    for item in field.list("matchExpressions", errors) {
        requirements.extend(expression(&item, errors));
    }
    Selector::new(requirements)
}

fn expression(field: &Field, errors: &mut Errors) -> Option<Requirement> {
    field.only(&["key", "operator", "values"], errors);
    if !field.value.is_object() {
        return None;
    }
    let key = field.get("key");
    match &key {
        Some(key) if !key.value.as_str().is_some_and(names::label_key) => key.fault(errors, KEY),
        Some(_) => {}
        None => field.fault(errors, "add key, the label's name"),
    }
    let values: Vec<Name> = field
        .list("values", errors)
        .filter_map(|value| label_value(&value, errors))
        .collect();
    let given = field.get("values");
    let given = given
        .as_ref()
        .filter(|v| v.value.as_array().is_none_or(|v| !v.is_empty()));
    let Some(operator) = field.get("operator") else {
        field.fault(errors, "add operator: In, NotIn, Exists or DoesNotExist");
        return None;
    };
    let operator = match (operator.value.as_str(), given) {
        (Some("In"), Some(_)) => Operator::In(values),
        (Some("NotIn"), Some(_)) => Operator::NotIn(values),
        (Some("In" | "NotIn"), None) => {
            field.fault(errors, "add values, at least one, for In and NotIn");
            return None;
        }
        (Some("Exists"), None) => Operator::Exists,
        (Some("DoesNotExist"), None) => Operator::DoesNotExist,
        (Some("Exists" | "DoesNotExist"), Some(values)) => {
            values.fault(errors, "leave values out with Exists and DoesNotExist");
            return None;
        }
        _ => {
            operator.fault(errors, "write In, NotIn, Exists or DoesNotExist");
            return None;
        }
    };
    let key = key?.value.as_str()?.into();
    Some(Requirement { key, operator })
}

fn label_value(field: &Field, errors: &mut Errors) -> Option<Name> {
    let text = field.text(errors)?;
    if !names::label_value(text) {
        field.fault(errors, VALUE);
    }
    Some(text.into())
}
