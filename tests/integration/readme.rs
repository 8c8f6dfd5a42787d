//! The README: that both languages say the same.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::{fs, mem, path::Path};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A heading, a paragraph, an item, a cell of a table, a block of code: what must be the same in every language.
#[derive(Debug, Default, PartialEq)]
struct Part {
    kind: String,
    /// A block byte for byte, comments too: who copies from one page runs what the other says.
    block: String,
    /// Without order, which languages differ in.
    spans: Vec<String>,
    numbers: Vec<String>,
    links: Vec<String>,
}

/// Every part with its words.
fn parts(text: &str) -> Vec<(Part, String)> {
    let (mut parts, mut part, mut words) = (Vec::new(), Part::default(), String::new());
    let mut end = |part: &mut Part, words: &mut String, kind: String| {
        let (mut part, words) = (mem::replace(part, Part { kind, ..Part::default() }), mem::take(words));
        part.numbers = numbers(&words);
        part.spans.sort();
        part.links.sort();
        parts.push((part, words));
    };
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. }) => part.links.push(dest_url.into_string()),
            Event::Start(Tag::Strong | Tag::Emphasis) | Event::End(TagEnd::Strong | TagEnd::Link) => {}
            Event::Start(tag) => end(&mut part, &mut words, format!("{tag:?}")),
            Event::End(tag) => end(&mut part, &mut words, format!("after {tag:?}")),
            Event::Text(text) if part.kind.starts_with("CodeBlock") => part.block.push_str(&text),
            Event::Text(text) => words.push_str(&text),
            Event::Code(code) => part.spans.push(code.into_string()),
            Event::SoftBreak => words.push(' '),
            other => panic!("{other:?} is not looked at"),
        }
    }
    end(&mut part, &mut words, String::new());
    parts
}

/// Figures, as `10,000` and `4.6`.
fn numbers(words: &str) -> Vec<String> {
    let figures = words.split(|letter: char| !(letter.is_ascii_digit() || ".,".contains(letter)));
    let figures = figures.map(|figure| figure.trim_matches(['.', ',']).to_owned());
    let mut figures: Vec<String> = figures.filter(|figure| !figure.is_empty()).collect();
    figures.sort();
    figures
}

#[test]
fn both_languages_say_the_same() {
    let (mut english, mut korean) = (parts(&file("README.md")), parts(&file("README.ko.md")));
    // The way to the other one stands below the title.
    let is_way = |(part, _): &(Part, String)| part.links.iter().any(|link| link.starts_with("README"));
    for (parts, other) in [(&mut english, "README.ko.md"), (&mut korean, "README.md")] {
        let at = parts.iter().position(is_way).unwrap();
        assert!(at < 5, "{other} is linked to in the first lines");
        assert_eq!(mem::take(&mut parts[at].0.links), [other]);
        parts[at].1.clear();
    }
    assert!(english.len() > 300, "the README is not what was read");
    for ((english, said), (korean, translated)) in english.iter().zip(&korean) {
        assert_eq!(english, korean, "\n{said}\n{translated}");
        assert!(
            !translated.contains("**") && !translated.contains('`'),
            "is shown as it stands: {translated}"
        );
        // Cells and headings may be names; whoever wrote a sentence wrote it in both.
        let is_korean = translated.chars().any(|letter| ('가'..='힣').contains(&letter));
        assert!(is_korean || said.split_whitespace().count() < 6, "is not translated: {translated}");
    }
    assert_eq!(english.len(), korean.len());
}
