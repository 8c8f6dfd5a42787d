//! What expressions come to, as far as it is known without running them.

use super::{
    super::{
        What, flat, short,
        value::{Value, put},
    },
    DEEPEST, MOST, Reader, children, line,
};
use std::path::Path;
use tree_sitter::Node;

impl Reader<'_> {
    /// What an expression comes to.
    pub(super) fn value(&mut self, node: Node<'_>, depth: usize) -> Value {
        self.made += 1;
        if depth > DEEPEST || self.made > MOST {
            return Value::unread(line(node), "it is nested too deeply, or too much");
        }
        let (at, depth) = (line(node), depth + 1);
        let source = self.source(node);
        let what = match node.kind() {
            "true" => What::Flag(true),
            "false" => What::Flag(false),
            "null" | "undefined" => What::Nothing,
            "number" => {
                return number(source)
                    .map_or_else(|| self.unknown(node), |n| Value::new(at, What::Number(n)));
            }
            "string" | "template_string" => match self.string(node, depth) {
                Ok(text) => What::Text(text),
                Err(why) => What::Unread(why),
            },
            "identifier" => return self.named(node),
            "parenthesized_expression" => match children(node).next() {
                Some(inner) => return self.value(inner, depth),
                None => return self.unknown(node),
            },
            "array" => self.list(node, depth),
            "object" => self.table(node, depth),
            "unary_expression" => return self.unary(node, depth),
            "binary_expression" => return self.binary(node, depth),
            "ternary_expression" => return self.choice(node, depth),
            "member_expression" => return self.member(node, depth),
            "call_expression" => return self.call(node, depth),
            "assignment_expression" => return self.assignment(node, depth),
            "arrow_function" | "function_expression" | "function" => {
                What::Unread("it is a function".to_owned())
            }
            _ => return self.unknown(node),
        };
        Value::new(at, what)
    }

    pub(super) fn unknown(&self, node: Node<'_>) -> Value {
        Value::unread(
            line(node),
            format!("`{}` is not known without running the file", short(self.source(node))),
        )
    }

    fn named(&mut self, node: Node<'_>) -> Value {
        let name = self.source(node);
        let known = match name {
            "undefined" => Some(What::Nothing),
            "__dirname" => Some(What::Text(self.folder.clone())),
            "__filename" => Some(What::Text(self.file.clone())),
            _ => None,
        };
        if let Some(what) = known {
            return Value::new(line(node), what);
        }
        let Some(value) = self.names.get(name) else { return self.unknown(node) };
        self.made += value.size();
        if self.made > MOST { Value::unread(line(node), "it is too much") } else { value.clone() }
    }

    /// A text, with what is put into it.
    pub(super) fn string(&mut self, node: Node<'_>, depth: usize) -> Result<String, String> {
        let mut text = String::new();
        for part in children(node) {
            match part.kind() {
                "escape_sequence" => text.push_str(&unescaped(self.source(part))),
                "template_substitution" => {
                    let inner = part.named_child(0).ok_or("there is nothing in ${}")?;
                    let value = self.value(inner, depth);
                    match (value.as_text(), value.what) {
                        (Some(inner), _) => text.push_str(&inner),
                        (None, What::Unread(why)) => return Err(why),
                        (None, _) => return Err(format!("`{}` is no text", short(self.source(inner)))),
                    }
                }
                _ => text.push_str(self.source(part)),
            }
        }
        Ok(text)
    }

    fn list(&mut self, node: Node<'_>, depth: usize) -> What {
        let mut list = Vec::new();
        for element in children(node) {
            if element.kind() != "spread_element" {
                list.push(self.value(element, depth));
            } else if let Some(What::List(more)) = self.spread(element, depth) {
                list.extend(more);
            }
        }
        What::List(list)
    }

    fn table(&mut self, node: Node<'_>, depth: usize) -> What {
        let mut table = Vec::new();
        for entry in children(node) {
            match entry.kind() {
                // What comes after a slip may belong to something else.
                "pair"
                    if (0..entry.child_count())
                        .any(|at| entry.child(at).is_some_and(|part| part.is_error())) =>
                {
                    self.note(entry, "has a slip in it, and is left out");
                }
                "pair" => {
                    let (Some(key), Some(value)) =
                        (entry.child_by_field_name("key"), entry.child_by_field_name("value"))
                    else {
                        continue;
                    };
                    let value = self.value(value, depth);
                    match self.key(key, depth) {
                        Some(key) => put(&mut table, key, Value::new(line(entry), value.what)),
                        None => self.note(entry, "its name is not known without running the file"),
                    }
                }
                "shorthand_property_identifier" => {
                    let value = self.named(entry);
                    put(&mut table, self.source(entry).to_owned(), Value::new(line(entry), value.what));
                }
                "spread_element" => {
                    if let Some(What::Table(more)) = self.spread(entry, depth) {
                        more.into_iter().for_each(|(key, value)| put(&mut table, key, value));
                    }
                }
                "method_definition" => self.note(entry, "is a function"),
                _ => {}
            }
        }
        What::Table(table)
    }

    fn key(&mut self, node: Node<'_>, depth: usize) -> Option<String> {
        match node.kind() {
            "string" => self.string(node, depth).ok(),
            "computed_property_name" => self.value(node.named_child(0)?, depth).as_text(),
            _ => Some(self.source(node).to_owned()),
        }
    }

    /// What `...x` adds, or a note that it is missing.
    fn spread(&mut self, node: Node<'_>, depth: usize) -> Option<What> {
        let value = self.value(node.named_child(0)?, depth);
        match value.what {
            What::Unread(_) => {
                self.note(node, "is not known without running the file: what it adds is missing")
            }
            what => return Some(what),
        }
        None
    }

    fn unary(&mut self, node: Node<'_>, depth: usize) -> Value {
        let Some(argument) = node.child_by_field_name("argument") else { return self.unknown(node) };
        let value = self.value(argument, depth);
        let operator = node.child_by_field_name("operator").map(|operator| self.source(operator));
        let what = match (operator, &value.what) {
            (Some("-"), What::Number(number)) => What::Number(-number),
            (Some("+"), _) => match value.as_text().and_then(|text| text.trim().parse().ok()) {
                Some(number) => What::Number(number),
                None => return self.unknown(node),
            },
            (Some("!"), _) => match value.is_true() {
                Some(flag) => What::Flag(!flag),
                None => return self.unknown(node),
            },
            _ => return self.unknown(node),
        };
        Value::new(line(node), what)
    }

    fn binary(&mut self, node: Node<'_>, depth: usize) -> Value {
        let side = |name| node.child_by_field_name(name);
        let (Some(left), Some(right)) = (side("left"), side("right")) else { return self.unknown(node) };
        let operator = side("operator").map_or("", |operator| self.source(operator));
        let (a, b) = (self.value(left, depth), self.value(right, depth));
        let what = match (operator, &a.what, &b.what) {
            ("||" | "??", What::Unread(_), What::Unread(_)) => return self.unknown(node),
            ("||" | "??", What::Unread(_), _) => {
                let why = format!("is taken to be unset: {} stands", b.shown());
                self.note(left, &why);
                b.what
            }
            ("??", What::Nothing, _) => b.what,
            ("??", _, _) => a.what,
            ("||", ..) => {
                if a.is_true() == Some(true) {
                    a.what
                } else {
                    b.what
                }
            }
            ("&&", ..) => match a.is_true() {
                Some(true) => b.what,
                Some(false) => a.what,
                None => return self.unknown(node),
            },
            (_, What::Unread(_), _) | (_, _, What::Unread(_)) => return self.unknown(node),
            ("===" | "==" | "!==" | "!=", a, b) => match equal(a, b, operator.len() == 3) {
                Some(equal) => What::Flag(equal == operator.starts_with('=')),
                None => return self.unknown(node),
            },
            ("+", What::Number(a), What::Number(b)) => What::Number(a + b),
            ("-", What::Number(a), What::Number(b)) => What::Number(a - b),
            ("*", What::Number(a), What::Number(b)) => What::Number(a * b),
            ("/", What::Number(a), What::Number(b)) => What::Number(a / b),
            ("+", ..) => match (a.as_text(), b.as_text()) {
                (Some(a), Some(b)) => What::Text(a + &b),
                _ => return self.unknown(node),
            },
            _ => return self.unknown(node),
        };
        Value::new(line(node), what)
    }

    fn choice(&mut self, node: Node<'_>, depth: usize) -> Value {
        let Some(condition) = node.child_by_field_name("condition") else { return self.unknown(node) };
        let chosen = match self.value(condition, depth).is_true() {
            Some(true) => "consequence",
            Some(false) => "alternative",
            None => {
                let why = format!("it depends on `{}`", short(self.source(condition)));
                return Value::unread(line(node), why);
            }
        };
        match node.child_by_field_name(chosen) {
            Some(chosen) => self.value(chosen, depth),
            None => self.unknown(node),
        }
    }

    fn member(&mut self, node: Node<'_>, depth: usize) -> Value {
        let (object, property) = (node.child_by_field_name("object"), node.child_by_field_name("property"));
        let (Some(object), Some(property)) = (object, property) else { return self.unknown(node) };
        let value = self.value(object, depth);
        let property = self.source(property);
        value
            .get(property)
            .map_or_else(|| self.unknown(node), |value| Value::new(line(node), value.what.clone()))
    }

    /// The few functions whose result is known.
    fn call(&mut self, node: Node<'_>, depth: usize) -> Value {
        let (function, arguments) =
            (node.child_by_field_name("function"), node.child_by_field_name("arguments"));
        let (Some(function), Some(arguments)) = (function, arguments) else { return self.unknown(node) };
        let name = self.source(function).replace(char::is_whitespace, "");
        let name = [
            "require('path').",
            "require(\"path\").",
            "require('node:path').",
            "require(\"node:path\").",
            "path.",
        ]
        .iter()
        .find_map(|module| name.strip_prefix(module))
        .unwrap_or(&name);
        if name == "require" {
            let path = children(arguments).next().and_then(|path| self.value(path, depth).as_text());
            if let Some(value) = path.and_then(|path| self.other_file(&path, line(node))) {
                return value;
            }
            return Value::unread(
                line(node),
                format!("`{}` is another file or module", short(self.source(node))),
            );
        }
        let values: Vec<Value> = children(arguments).map(|argument| self.value(argument, depth)).collect();
        let texts = values.iter().map(Value::as_text).collect::<Option<Vec<String>>>();
        let what = match (name, texts.as_deref()) {
            ("join", Some([first, rest @ ..])) => {
                let joined = rest.iter().fold(first.clone(), |path, part| format!("{path}/{part}"));
                What::Text(flat(Path::new(&joined)).display().to_string())
            }
            ("resolve", Some(parts)) => {
                let resolved =
                    parts.iter().fold(Path::new(&self.folder).to_owned(), |path, part| path.join(part));
                What::Text(flat(&resolved).display().to_string())
            }
            ("basename" | "dirname", Some([path])) => {
                let path = Path::new(path);
                let part =
                    if name == "basename" { path.file_name() } else { path.parent().map(Path::as_os_str) };
                What::Text(part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default())
            }
            ("process.cwd", _) => What::Text(self.folder.clone()),
            ("String", Some([text])) => What::Text(text.clone()),
            (
                "Number" | "parseInt" | "parseFloat" | "Number.parseInt" | "Number.parseFloat",
                Some([text, radix @ ..]),
            ) => match text.trim().parse::<f64>() {
                Ok(number) if radix.first().is_none_or(|radix| radix == "10") => {
                    What::Number(if name.ends_with("parseInt") { number.trunc() } else { number })
                }
                _ => return self.unknown(node),
            },
            ("Object.assign", _) if values.iter().all(|value| matches!(value.what, What::Table(_))) => {
                let mut table = Vec::new();
                for (key, value) in values.into_iter().flat_map(Value::into_table) {
                    put(&mut table, key, value);
                }
                What::Table(table)
            }
            _ => return self.joined(function, texts.as_deref(), depth).unwrap_or_else(|| self.unknown(node)),
        };
        Value::new(line(node), what)
    }

    /// `[...].join(" ")`.
    fn joined(&mut self, function: Node<'_>, arguments: Option<&[String]>, depth: usize) -> Option<Value> {
        if self.source(function.child_by_field_name("property")?) != "join" {
            return None;
        }
        let What::List(list) = self.value(function.child_by_field_name("object")?, depth).what else {
            return None;
        };
        let parts = list.iter().map(Value::as_text).collect::<Option<Vec<String>>>()?;
        let between = arguments?.first().map_or(",", String::as_str);
        Some(Value::new(line(function), What::Text(parts.join(between))))
    }
}

/// Whether they are equal in JavaScript; `None`: that takes more than is known here.
fn equal(a: &What, b: &What, strictly: bool) -> Option<bool> {
    use What::{Flag, List, Nothing, Number, Table, Text, Unread};
    match (a, b) {
        // Each is equal to itself only, and which one it is, is not known.
        (List(_) | Table(_) | Unread(_), _) | (_, List(_) | Table(_) | Unread(_)) => None,
        // `null` and `undefined` are one here.
        (Nothing, Nothing) if strictly => None,
        (Nothing, Nothing) | (Flag(_), Flag(_)) | (Number(_), Number(_)) | (Text(_), Text(_)) => Some(a == b),
        (Nothing, _) | (_, Nothing) => Some(false),
        _ => strictly.then_some(false),
    }
}

fn number(source: &str) -> Option<f64> {
    let digits = source.replace('_', "").to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
    match radix.iter().find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix))) {
        #[allow(clippy::cast_precision_loss, reason = "JavaScript's numbers are like that")]
        Some((digits, radix)) => u64::from_str_radix(digits, radix).ok().map(|number| number as f64),
        None => digits.parse().ok(),
    }
}

/// ECMA-262, 12.9.4: escapes of string literals.
fn unescaped(escape: &str) -> String {
    let body = escape.strip_prefix('\\').unwrap_or(escape);
    let code = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).map(String::from);
    let simple = match body {
        "n" => "\n",
        "t" => "\t",
        "r" => "\r",
        "b" => "\u{8}",
        "f" => "\u{c}",
        "v" => "\u{b}",
        "0" => "\0",
        "\n" | "\r\n" => "",
        _ => {
            let digits = body.strip_prefix(['u', 'x']).map(|digits| digits.trim_matches(['{', '}']));
            return digits.and_then(code).unwrap_or_else(|| body.to_owned());
        }
    };
    simple.to_owned()
}
