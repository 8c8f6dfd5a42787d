//! What stands in a pm2 file, whatever it is written in: a value with its line.

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    /// From 1.
    pub(super) line: usize,
    pub(super) what: What,
}

/// See [`Value`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// `null`, `undefined`.
    Nothing,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    /// In its order; a name comes once.
    Table(Vec<(String, Value)>),
    /// It could not be known without running the file, and why.
    Unread(String),
}

impl Value {
    pub(super) fn new(line: usize, what: What) -> Self {
        Self { line, what }
    }

    pub(super) fn unread(line: usize, why: impl Into<String>) -> Self {
        Self::new(line, What::Unread(why.into()))
    }

    /// What a JSON file holds, which is read on this line.
    pub(super) fn of_json(json: serde_json::Value, line: usize) -> Self {
        let what = match json {
            serde_json::Value::Null => What::Nothing,
            serde_json::Value::Bool(flag) => What::Flag(flag),
            serde_json::Value::Number(number) => What::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => What::Text(text),
            serde_json::Value::Array(list) => {
                What::List(list.into_iter().map(|value| Self::of_json(value, line)).collect())
            }
            serde_json::Value::Object(table) => {
                What::Table(table.into_iter().map(|(key, value)| (key, Self::of_json(value, line))).collect())
            }
        };
        Self::new(line, what)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.what {
            What::Table(table) => table.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn into_table(self) -> Vec<(String, Self)> {
        if let What::Table(table) = self.what { table } else { Vec::new() }
    }

    /// A text, or what stands for itself in one.
    pub(super) fn as_text(&self) -> Option<String> {
        match &self.what {
            What::Text(text) => Some(text.clone()),
            What::Number(number) => Some(number.to_string()),
            What::Flag(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// A whole number, also one written as a text.
    pub(super) fn as_whole(&self) -> Option<u64> {
        match &self.what {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it was looked whether it fits"
            )]
            What::Number(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => {
                Some(*number as u64)
            }
            What::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// As JavaScript's conditions see it; `None`: not known.
    pub(super) fn is_true(&self) -> Option<bool> {
        match &self.what {
            What::Nothing => Some(false),
            What::Flag(flag) => Some(*flag),
            What::Number(number) => Some(*number != 0.0 && !number.is_nan()),
            What::Text(text) => Some(!text.is_empty()),
            What::List(_) | What::Table(_) => Some(true),
            What::Unread(_) => None,
        }
    }

    /// How many values it is made of.
    pub(super) fn size(&self) -> usize {
        1 + match &self.what {
            What::List(list) => list.iter().map(Self::size).sum(),
            What::Table(table) => table.iter().map(|(_, value)| value.size()).sum(),
            _ => 0,
        }
    }

    /// For people: why it is not what was expected there.
    pub(super) fn is_no(&self, wanted: &str) -> String {
        match &self.what {
            What::Unread(why) => why.clone(),
            _ => format!("{} is no {wanted}", self.shown()),
        }
    }

    /// For people: what stands there.
    pub(super) fn shown(&self) -> String {
        let text = match &self.what {
            What::Nothing => "null".to_owned(),
            What::Text(text) => format!("{text:?}"),
            What::List(list) => format!("[{}]", list.iter().map(Self::shown).collect::<Vec<_>>().join(", ")),
            What::Table(_) => "{ ... }".to_owned(),
            What::Unread(_) => "?".to_owned(),
            _ => self.as_text().unwrap_or_default(),
        };
        super::short(&text)
    }
}

/// Puts a value into a table, in the place of an earlier one of this name.
pub(super) fn put(table: &mut Vec<(String, Value)>, name: String, value: Value) {
    match table.iter_mut().find(|(key, _)| *key == name) {
        Some((_, old)) => *old = value,
        None => table.push((name, value)),
    }
}
