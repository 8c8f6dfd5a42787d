//! pm2 files in JavaScript. The home of tree-sitter, which reads around what is no JavaScript, so that one slip costs
//! one line. On its tree the part of the language is evaluated in which ecosystem files are written: literals,
//! constants, spread, joined paths and texts, arithmetic, `a || b`. What would have to be run is said to be unread.

mod expr;

use super::{Note, Read, Value, What, short, value::put};
use std::{collections::BTreeMap, path::Path};
use tree_sitter::{Node, Parser, Tree};

/// Deeper is no ecosystem file.
const DEEPEST: usize = 64;
/// More values than any has: constants that multiply one another end here.
const MOST: usize = 100_000;

/// A file with `module.exports = ...` or `export default ...`.
///
/// # Errors
/// It exports nothing.
pub(super) fn script(text: &str, file: &Path) -> Result<Read, String> {
    let tree = parse(text)?;
    let mut reader = Reader::new(text, file);
    reader.slips(tree.root_node());
    for statement in children(tree.root_node()) {
        reader.statement(statement);
    }
    match reader.exported.take() {
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
pub(super) fn json(text: &str, file: &Path) -> Result<Read, String> {
    let text = format!("({}\n)", text.trim_start_matches('\u{feff}'));
    let tree = parse(&text)?;
    let mut reader = Reader::new(&text, file);
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
    names: BTreeMap<String, Value>,
    exported: Option<Value>,
    notes: Vec<Note>,
    /// Values made so far.
    made: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new("/")).display().to_string();
        let file = file.display().to_string();
        Self { text, folder, file, names: BTreeMap::new(), exported: None, notes: Vec::new(), made: 0 }
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
            "lexical_declaration" | "variable_declaration" => {
                for declared in children(node).filter(|child| child.kind() == "variable_declarator") {
                    let (name, value) =
                        (declared.child_by_field_name("name"), declared.child_by_field_name("value"));
                    if let (Some(name), Some(value)) =
                        (name.filter(|name| name.kind() == "identifier"), value)
                    {
                        let value = self.value(value, 0);
                        self.names.insert(self.source(name).to_owned(), value);
                    }
                }
            }
            "expression_statement" => match node.named_child(0) {
                Some(inner) if inner.kind() == "assignment_expression" => self.assignment(inner),
                Some(inner) if inner.kind() == "string" => {}
                _ => self.note(node, "is not carried out: nothing of the file is run"),
            },
            "export_statement" => {
                if let Some(value) = node.child_by_field_name("value") {
                    self.exported = Some(self.value(value, 0));
                }
            }
            "function_declaration"
            | "class_declaration"
            | "import_statement"
            | "empty_statement"
            | "ERROR"
            | "hash_bang_line" => {}
            _ => self.note(node, "is not carried out: nothing of the file is run"),
        }
    }

    fn assignment(&mut self, node: Node<'_>) {
        let (Some(left), Some(right)) = (node.child_by_field_name("left"), node.child_by_field_name("right"))
        else {
            return;
        };
        let target = self.source(left).replace(char::is_whitespace, "");
        let value = self.value(right, 0);
        let inside = target.strip_prefix("module.").unwrap_or(&target).strip_prefix("exports");
        match inside.map(|rest| rest.strip_prefix('.').unwrap_or(rest)) {
            Some("") => self.exported = Some(value),
            Some(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                let exported =
                    self.exported.get_or_insert_with(|| Value::new(line(node), What::Table(Vec::new())));
                if let What::Table(table) = &mut exported.what {
                    put(table, name.to_owned(), value);
                }
            }
            _ if left.kind() == "identifier" => drop(self.names.insert(target, value)),
            _ => self.note(node, "is not carried out: nothing of the file is run"),
        }
    }
}
