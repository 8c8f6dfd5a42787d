//! pm2 files in YAML. The home of saphyr. Anchors are resolved by it, merge keys (`<<`) here.

use super::{Read, Value, What, value::put};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// Deeper is no ecosystem file.
const DEEPEST: usize = 64;

/// # Errors
/// It is no YAML: where, and why.
pub(super) fn read(text: &str) -> Result<Read, String> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| format!("this is no YAML: {error}"))?;
    let first = documents.first().ok_or("it is empty")?;
    Ok(Read { value: value(first, 0), notes: Vec::new() })
}

fn value(node: &MarkedYaml<'_>, depth: usize) -> Value {
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
        YamlData::Sequence(list) => What::List(list.iter().map(|node| value(node, depth + 1)).collect()),
        YamlData::Mapping(mapping) => {
            let (mut merged, mut own) = (Vec::new(), Vec::new());
            for (key, node) in mapping {
                let (key, value) = (self::value(key, depth + 1), value(node, depth + 1));
                match (key.as_text(), value.what) {
                    (Some(key), What::Table(table)) if key == "<<" => merged.extend(table),
                    (Some(key), what) => put(&mut own, key, Value::new(value.line, what)),
                    (None, _) => {}
                }
            }
            // What is written in a mapping itself wins over what is merged into it.
            own.into_iter().for_each(|(key, value)| put(&mut merged, key, value));
            What::Table(merged)
        }
        YamlData::Tagged(_, node) => return value(node, depth + 1),
        _ => What::Unread("it is no value that YAML knows".to_owned()),
    };
    Value::new(line, what)
}
