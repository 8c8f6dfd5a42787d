//! pm2 files in YAML. The home of saphyr. Anchors are resolved by it, merge keys (`<<`) here.

use super::{Note, Read, Value, What, value::put};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// Deeper is no ecosystem file.
const DEEPEST: usize = 64;

/// # Errors
/// It is no YAML: where, and why.
pub(super) fn read(text: &str) -> Result<Read, String> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| format!("this is no YAML: {error}"))?;
    let first = documents.first().ok_or("it is empty")?;
    let mut notes = Vec::new();
    if let Some(second) = documents.get(1) {
        let why = "a file of pm2's is one document: what comes after the first is left out";
        notes.push(Note::new(second.span.start.line(), "---", why));
    }
    Ok(Read { value: value(first, 0, &mut notes), notes })
}

fn value(node: &MarkedYaml<'_>, depth: usize, notes: &mut Vec<Note>) -> Value {
    let line = node.span.start.line();
    if depth > DEEPEST {
        return Value::unread(line, "it is nested too deeply");
    }
    let what = match &node.data {
        YamlData::Value(Scalar::Null) => What::Nothing,
        YamlData::Value(Scalar::Boolean(flag)) => What::Flag(*flag),
        #[allow(clippy::cast_precision_loss, reason = "no number of an ecosystem file is that large")]
        YamlData::Value(Scalar::Integer(number)) => What::Number(*number as f64),
        YamlData::Value(Scalar::FloatingPoint(number)) => What::Number(number.0),
        YamlData::Value(Scalar::String(text)) => What::Text(text.to_string()),
        YamlData::Sequence(list) => {
            What::List(list.iter().map(|node| value(node, depth + 1, notes)).collect())
        }
        YamlData::Mapping(mapping) => {
            let (mut merged, mut own) = (Vec::new(), Vec::new());
            for (key, node) in mapping {
                let key = self::value(key, depth + 1, notes);
                let value = value(node, depth + 1, notes);
                match (key.as_text(), value.what) {
                    (Some(key), What::Table(table)) if key == "<<" => merged.extend(table),
                    // Of several the first wins (yaml.org/type/merge.html).
                    (Some(key), What::List(list)) if key == "<<" => {
                        for (key, value) in list.into_iter().rev().flat_map(Value::into_table) {
                            put(&mut merged, key, value);
                        }
                    }
                    (Some(key), what) => put(&mut own, key, Value::new(value.line, what)),
                    (None, _) => notes.push(Note::new(key.line, key.shown(), "is no name of a key")),
                }
            }
            // What is written in a mapping itself wins over what is merged into it.
            own.into_iter().for_each(|(key, value)| put(&mut merged, key, value));
            What::Table(merged)
        }
        YamlData::Tagged(_, node) => return value(node, depth + 1, notes),
        _ => What::Unread("it is no value that YAML knows".to_owned()),
    };
    Value::new(line, what)
}
