//! pm2 files in JavaScript. The home of tree-sitter, which reads around what is no JavaScript, so that one slip costs
//! one line. On its tree the part of the language is evaluated in which ecosystem files are written: literals,
//! constants, spread, joined paths and texts, arithmetic, `a || b`, what `require('./package.json')` names. What would
//! have to be run is said to be unread.

mod expr;

use super::{Note, Place, Read, Value, What, flat, short, value::put};
use std::collections::BTreeMap;
use tree_sitter::{Node, Parser, Tree};

/// Deeper is no ecosystem file.
const DEEPEST: usize = 64;
/// More values than any has: constants that multiply one another end here.
const MOST: usize = 100_000;

/// A file with `module.exports = ...` or `export default ...`.
///
/// # Errors
/// It exports nothing.
pub(super) fn script(text: &str, place: &Place<'_>) -> Result<Read, String> {
    let tree = parse(text)?;
    let mut reader = Reader::new(text, place);
    reader.slips(tree.root_node());
    for statement in children(tree.root_node()) {
        reader.statement(statement);
    }
    // `export const apps = ...` is what counts where nothing is exported as the default.
    let named = std::mem::take(&mut reader.named);
    let named = named.first().map(|(_, value)| value.line).map(|line| Value::new(line, What::Table(named)));
    match reader.exported.take().or(named) {
        Some(value) => Ok(Read { value, notes: reader.notes }),
        None => {
            Err("it exports nothing: there is no `module.exports = ...` and no `export default ...`"
                .to_owned())
        }
    }
}

/// pm2 reads .json as JavaScript as well: comments, single quotes and commas at the end are fine.
///
/// # Errors
/// There is no value in it.
pub(super) fn json(text: &str, place: &Place<'_>) -> Result<Read, String> {
    let text = format!("({}\n)", text.trim_start_matches('\u{feff}'));
    let tree = parse(&text)?;
    let mut reader = Reader::new(&text, place);
    reader.slips(tree.root_node());
    let value = children(tree.root_node()).find_map(|statement| {
        let inner = (statement.kind() == "expression_statement").then(|| statement.named_child(0))??;
        Some(reader.value(inner, 0))
    });
    let notes = reader.notes;
    value.map(|value| Read { value, notes }).ok_or_else(|| "there is no value in it".to_owned())
}

fn parse(text: &str) -> Result<Tree, String> {
    let mut parser = Parser::new();
    let ready = parser.set_language(&tree_sitter_javascript::LANGUAGE.into());
    ready.map_err(|error| format!("the JavaScript grammar does not fit: {error}"))?;
    parser.parse(text, None).ok_or_else(|| "it cannot be parsed".to_owned())
}

/// The named children, less comments.
fn children(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    let all =
        (0..node.named_child_count()).filter_map(move |index| node.named_child(u32::try_from(index).ok()?));
    all.filter(|child| child.kind() != "comment")
}

fn line(node: Node<'_>) -> usize {
    node.start_position().row + 1
}

struct Reader<'t> {
    text: &'t str,
    folder: String,
    file: String,
    place: &'t Place<'t>,
    names: BTreeMap<String, Value>,
    exported: Option<Value>,
    /// What is exported by its name (ECMA-262, 16.2.3).
    named: Vec<(String, Value)>,
    notes: Vec<Note>,
    /// Values made so far.
    made: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, place: &'t Place<'t>) -> Self {
        let folder = place.folder().display().to_string();
        let file = place.from.display().to_string();
        let (names, named, notes) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { text, folder, file, place, names, exported: None, named, notes, made: 0 }
    }

    fn source(&self, node: Node<'_>) -> &'t str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    fn note(&mut self, node: Node<'_>, why: &str) {
        self.notes.push(Note::new(line(node), format!("`{}`", short(self.source(node))), why));
    }

    /// Notes where it is no JavaScript.
    fn slips(&mut self, root: Node<'_>) {
        let mut open = vec![root];
        while let Some(node) = open.pop().filter(|_| self.notes.len() < 20) {
            if node.is_error() {
                self.note(node, "this is no JavaScript, and was skipped");
            } else if node.is_missing() {
                self.notes.push(Note::new(line(node), format!("`{}`", node.kind()), "is missing here"));
            } else if node.has_error() {
                open.extend((0..node.child_count()).rev().filter_map(|at| node.child(at)));
            }
        }
    }

    fn statement(&mut self, node: Node<'_>) {
        match node.kind() {
            "lexical_declaration" | "variable_declaration" => drop(self.declaration(node)),
            "expression_statement" => match node.named_child(0) {
                Some(inner) if inner.kind() == "assignment_expression" => drop(self.assignment(inner, 0)),
                Some(inner) if inner.kind() == "string" => {}
                _ => self.note(node, "is not carried out: nothing of the file is run"),
            },
            "export_statement" => self.export(node),
            "import_statement" => self.import(node),
            "function_declaration" | "class_declaration" | "empty_statement" | "ERROR" | "hash_bang_line" => {
            }
            _ => self.note(node, "is not carried out: nothing of the file is run"),
        }
    }

    /// Learns what is declared; gives the names.
    fn declaration(&mut self, node: Node<'_>) -> Vec<String> {
        let mut names = Vec::new();
        for declared in children(node).filter(|child| child.kind() == "variable_declarator") {
            let (name, value) = (declared.child_by_field_name("name"), declared.child_by_field_name("value"));
            let (Some(name), Some(value)) = (name, value) else { continue };
            let value = self.value(value, 0);
            match name.kind() {
                "identifier" => {
                    self.names.insert(self.source(name).to_owned(), value);
                    names.push(self.source(name).to_owned());
                }
                "object_pattern" => self.take_apart(name, &value),
                // What is not known is said where it is used.
                _ => {}
            }
        }
        names
    }

    /// `const { name, PORT = 3000 } = ...`
    fn take_apart(&mut self, pattern: Node<'_>, whole: &Value) {
        for part in children(pattern) {
            match part.kind() {
                "shorthand_property_identifier_pattern" => {
                    if let Some(value) = whole.get(self.source(part)) {
                        self.names.insert(self.source(part).to_owned(), value.clone());
                    }
                }
                "object_assignment_pattern" => {
                    let (Some(name), Some(other)) =
                        (part.child_by_field_name("left"), part.child_by_field_name("right"))
                    else {
                        continue;
                    };
                    let value = match whole.get(self.source(name)).filter(|value| value.what != What::Nothing)
                    {
                        Some(value) => value.clone(),
                        None => self.value(other, 0),
                    };
                    if let What::Unread(_) = whole.what {
                        let why = format!("is taken to be unset: {} stands", value.shown());
                        self.note(name, &why);
                    }
                    self.names.insert(self.source(name).to_owned(), value);
                }
                _ => {}
            }
        }
    }

    fn export(&mut self, node: Node<'_>) {
        if let Some(value) = node.child_by_field_name("value") {
            self.exported = Some(self.value(value, 0));
        }
        let mut named = Vec::new();
        if let Some(declaration) = node.child_by_field_name("declaration") {
            named.extend(
                self.declaration(declaration).into_iter().map(|name| (name.clone(), name, declaration)),
            );
        }
        let clauses = children(node).filter(|child| child.kind() == "export_clause");
        for specifier in clauses.flat_map(children) {
            let Some(name) = specifier.child_by_field_name("name") else { continue };
            let alias = specifier.child_by_field_name("alias").unwrap_or(name);
            named.push((self.source(name).to_owned(), self.source(alias).to_owned(), specifier));
        }
        for (name, alias, node) in named {
            let value = self.names.get(&name).cloned().unwrap_or_else(|| self.unknown(node));
            match alias.as_str() {
                "default" => self.exported = Some(value),
                _ => put(&mut self.named, alias, Value::new(line(node), value.what)),
            }
        }
    }

    /// `import pkg from './package.json' with { type: 'json' }`
    fn import(&mut self, node: Node<'_>) {
        let name = children(node)
            .find(|child| child.kind() == "import_clause")
            .and_then(|clause| clause.named_child(0));
        let (Some(name), Some(source)) =
            (name.filter(|name| name.kind() == "identifier"), node.child_by_field_name("source"))
        else {
            return;
        };
        let Ok(path) = self.string(source, 0) else { return };
        if let Some(value) = self.other_file(&path, line(node)) {
            self.names.insert(self.source(name).to_owned(), value);
        }
    }

    /// A JSON file beside this one; `None`: it is another kind of module, or not there.
    fn other_file(&mut self, path: &str, line: usize) -> Option<Value> {
        let is_json = path.starts_with(['.', '/']) && path.ends_with(".json");
        let text = is_json.then(|| (self.place.read)(&flat(&self.place.folder().join(path))))??;
        let value: serde_json::Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
        let value = Value::of_json(value, line);
        self.made += value.size();
        Some(if self.made > MOST { Value::unread(line, "it is too much") } else { value })
    }

    /// Gives what is assigned: `const config = module.exports = ...`.
    fn assignment(&mut self, node: Node<'_>, depth: usize) -> Value {
        let (Some(left), Some(right)) = (node.child_by_field_name("left"), node.child_by_field_name("right"))
        else {
            return self.unknown(node);
        };
        let target = self.source(left).replace(char::is_whitespace, "");
        let value = self.value(right, depth);
        let inside = target.strip_prefix("module.").unwrap_or(&target).strip_prefix("exports");
        match inside.map(|rest| rest.strip_prefix('.').unwrap_or(rest)) {
            // `exports = module.exports = ...` alone exports nothing, and does not stand alone.
            Some("") => self.exported = Some(value.clone()),
            Some(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                let exported =
                    self.exported.get_or_insert_with(|| Value::new(line(node), What::Table(Vec::new())));
                match &mut exported.what {
                    What::Table(table) => put(table, name.to_owned(), value.clone()),
                    _ => self.note(node, "is not carried out: what is exported is no table"),
                }
            }
            _ if left.kind() == "identifier" => drop(self.names.insert(target, value.clone())),
            _ => self.note(node, "is not carried out: nothing of the file is run"),
        }
        value
    }
}
