//! Small mistakes, planted in the text of a kernel.

use regex::Regex;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use steropes_testkit::inputs::fnv1a;

/// What is wrong with a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mutant {
    /// A line of the code has become another.
    Line {
        /// Number of the line, from 0.
        line: usize,
        was: String,
        becomes: String,
    },
    /// A launch has one workgroup less along an axis.
    Launch { axis: usize },
}

impl Mutant {
    /// What was changed, in one line.
    pub(super) fn change(&self) -> String {
        match self {
            Self::Line { was, becomes, .. } if becomes.trim().is_empty() => {
                format!("`{}` left out", was.trim())
            }
            Self::Line { was, becomes, .. } => format!("`{}` -> `{}`", was.trim(), becomes.trim()),
            Self::Launch { axis } => format!("one workgroup less along {}", ["x", "y", "z"][*axis]),
        }
    }

    /// The line without its mistake and with it, both without the space around them; of a launch what is wrong with it.
    pub(super) fn texts(&self) -> (String, String) {
        match self {
            Self::Line { was, becomes, .. } => (was.trim().to_owned(), becomes.trim().to_owned()),
            Self::Launch { .. } => (String::new(), self.change()),
        }
    }

    /// The line, from 1; 0 for launches.
    pub(super) fn line(&self) -> usize {
        match self {
            Self::Line { line, .. } => line + 1,
            Self::Launch { .. } => 0,
        }
    }
}

/// A kernel text in two parts: the generated lines (extensions, aliases, constants, tables of numbers), and the code, which is
/// the same for all sizes.
pub(super) fn split(text: &str) -> (String, String) {
    let (mut header, mut code) = (String::new(), String::new());
    for line in text.lines() {
        let part = if is_generated(line) { &mut header } else { &mut code };
        part.push_str(line);
        part.push('\n');
    }
    (header, code)
}

/// Whether a line looks like one of the generated ones.
pub(super) fn is_generated(line: &str) -> bool {
    static GENERATED: LazyLock<Regex> = LazyLock::new(|| {
        // Of a table each line returns one entry.
        Regex::new(
            r"(?x)^(enable\ \w+; | alias\ \w+\ =\ [\w<>,\ ]+; | const\ [A-Z0-9_]+:\ (u32|f32|bool)\ =\ [^;]+;
            | \s*(if\ \(\w+\ ==\ \d+u\)\ )?\{\ return\ array<\w+,\ \w+>\([^;]+\);\ \})$",
        )
        .expect("a regex")
    });
    GENERATED.is_match(line)
}

/// The text with the mistake in it, if it is one of this code's.
pub(super) fn apply(mutant: &Mutant, text: &str) -> String {
    let Mutant::Line { line, becomes, .. } = mutant else { return text.to_owned() };
    let mut of_code = 0..;
    let lines = text.lines().map(|l| match !is_generated(l) && of_code.next() == Some(*line) {
        true => becomes.as_str(),
        false => l,
    });
    lines.flat_map(|l| [l, "\n"]).collect()
}

/// At most `most` mistakes in a kernel, the same each time: each kind in turn, within a kind by a hash of the place.
pub(super) fn choose(text: &str, most: usize) -> Vec<Mutant> {
    let (_, code) = split(text);
    let mut kinds: Vec<Vec<Mutant>> = (0..KINDS).map(|kind| of_kind(kind, &code)).collect();
    for mutants in &mut kinds {
        mutants.sort_by_key(|m| fnv1a(&format!("{} {}", m.line(), m.change())));
        mutants.reverse();
    }
    let mut chosen: Vec<Mutant> = Vec::new();
    while chosen.len() < most && kinds.iter().any(|k| !k.is_empty()) {
        for kind in &mut kinds {
            let compiles = |m: &Mutant| is_valid(&apply(m, text));
            let next = std::iter::from_fn(|| kind.pop()).find(|m| !chosen.contains(m) && compiles(m));
            chosen.extend(next.filter(|_| chosen.len() < most));
        }
    }
    chosen.sort_by_key(Mutant::line);
    chosen
}

fn is_valid(text: &str) -> bool {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let mut frontend = naga::front::wgsl::Frontend::new();
    let capabilities = Capabilities::all();
    frontend.set_options(naga::front::wgsl::Options { parse_doc_comments: false, capabilities });
    let module = frontend.parse(text);
    module.is_ok_and(|m| Validator::new(ValidationFlags::all(), capabilities).validate(&m).is_ok())
}

const KINDS: usize = 9;

/// Replacements of one kind, in every line inside of a function.
fn of_kind(kind: usize, code: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut depth = 0;
    let mut in_structure = false;
    for (line, was) in code.lines().enumerate() {
        let statement = was.split("//").next().unwrap_or_default();
        in_structure |= depth == 0 && statement.starts_with("struct ");
        if depth > 0 && !in_structure {
            for becomes in replacements(kind, statement) {
                mutants.push(Mutant::Line { line, was: was.to_owned(), becomes });
            }
        }
        // A structure's or function's own line is no statement, a function in one line has some.
        if depth == 0 && statement.starts_with("fn ") && statement.contains('}') {
            let (head, body) = statement.split_once('{').unwrap_or((statement, ""));
            for becomes in replacements(kind, body) {
                mutants.push(Mutant::Line {
                    line,
                    was: was.to_owned(),
                    becomes: format!("{head}{{{becomes}"),
                });
            }
        }
        depth += statement.matches('{').count() as i32 - statement.matches('}').count() as i32;
        in_structure &= depth > 0;
    }
    mutants
}

/// The statement with one place changed, for every place of that kind.
fn replacements(kind: usize, statement: &str) -> Vec<String> {
    let swap = |pairs: &[(&str, &str)], from: usize| -> Vec<String> {
        pairs.iter().flat_map(|(a, b)| each(statement, a, b, from)).collect()
    };
    // The step of a loop is left alone: its mistakes make loops without an end.
    let is_loop = statement.trim_start().starts_with("for ");
    let condition_end = statement.rfind(';').filter(|_| is_loop).unwrap_or(statement.len());
    let early = |found: Vec<String>| -> Vec<String> {
        let tail = &statement[condition_end..];
        found.into_iter().filter(|f| !is_loop || f.ends_with(tail)).collect()
    };
    match kind {
        0 => early(swap(&[(" + ", " - "), (" - ", " + "), (" += ", " -= "), (" -= ", " += ")], 0)),
        1 => early(swap(&[(" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > ")], 0)),
        2 => indices(statement),
        3 => early(swap(&[(" * ", " + ")], 0)),
        4 => swap(&[("workgroupBarrier();", ""), ("storageBarrier();", ""), ("subgroupBarrier();", "")], 0),
        5 => early(constants(statement)),
        6 => swap(&[("min(", "max("), ("max(", "min(")], 0),
        7 => bounds(statement),
        _ => swap(&[("[first", "[1 + first"), ("== 0u", "!= 0u"), (" && ", " || "), (" || ", " && ")], 0),
    }
}

/// `text` with one occurrence of `a` replaced, for each.
fn each(text: &str, a: &str, b: &str, from: usize) -> Vec<String> {
    let word = |i: usize| {
        let before = text[..i].chars().next_back();
        !a.starts_with(char::is_alphabetic) || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    let places = text[from..].match_indices(a).map(|(i, _)| i + from).filter(|&i| word(i));
    places.map(|i| format!("{}{b}{}", &text[..i], &text[i + a.len()..])).collect()
}

/// Every index one further.
fn indices(text: &str) -> Vec<String> {
    let starts = text.match_indices('[').map(|(i, _)| i + 1);
    let closed = |start: usize| {
        let mut depth = 1;
        text[start..].char_indices().find_map(|(i, c)| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            (depth == 0).then_some(start + i)
        })
    };
    starts
        .filter_map(|start| closed(start).map(|end| (start, end)))
        .map(|(start, end)| format!("{}({}) + 1{}", &text[..start], &text[start..end], &text[end..]))
        .collect()
}

/// Every literal number one larger.
fn constants(text: &str) -> Vec<String> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(\d+)(\.\d+(?:e[+-]?\d+)?)?[uifh]?\b").expect("a regex"));
    // The length of an array is no number of the computation.
    if text.contains("array<") {
        return Vec::new();
    }
    NUMBER
        .captures_iter(text)
        .filter_map(|c| c.get(1))
        .filter(|m| !text[..m.start()].ends_with('.'))
        .filter_map(|m| Some((m.range(), m.as_str().parse::<u64>().ok()? + 1)))
        .map(|(range, next)| format!("{}{next}{}", &text[..range.start], &text[range.end..]))
        .collect()
}

/// A loop that ends half way.
fn bounds(text: &str) -> Vec<String> {
    static LOOP: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(\s*for \([^;]*;[^;]*? <=? )([^;]+)(;.*)$").expect("a regex"));
    LOOP.captures(text).map(|c| format!("{}({}) / 2{}", &c[1], &c[2], &c[3])).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "enable f16;\nconst N: u32 = 4u;\nstruct P { n: u32 }\nstruct Q {\n    n: u32,\n}\nfn f(a: u32) -> u32 { return a + 1u; }\n\
        @group(0) @binding(0) var<storage, read_write> x: array<u32>;\n@compute @workgroup_size(N)\n\
        fn main(@builtin(local_invocation_index) t: u32) {\n    // for + against\n    for (var i = 0u; i < N; i++) {\n        \
        x[t] += f(i) * 2u;\n    }\n    workgroupBarrier();\n    if (t < 3u) { x[t] = min(x[t], 7u); }\n}\n";

    #[test]
    fn generated_lines_are_kept_apart() {
        let (header, code) = split(TEXT);
        assert_eq!(header, "enable f16;\nconst N: u32 = 4u;\n");
        assert!(code.starts_with("struct P"));
    }

    #[test]
    fn a_table_is_no_code_and_stays_in_its_function() {
        let table = |numbers: &str| {
            format!("fn at(i: u32) -> array<u32, 2> {{\n{numbers}}}\nfn f() -> u32 {{ return at(1u)[0]; }}\n")
        };
        let long = table(
            "    if (i == 1u) { return array<u32, 2>(3u, 4u); }\n    { return array<u32, 2>(1u, 2u); }\n",
        );
        let short = table("    { return array<u32, 2>(7u, 8u); }\n");
        assert_eq!(split(&long).1, split(&short).1);
        let mutants = choose(&long, 100);
        assert!(!mutants.is_empty());
        for mutant in &mutants {
            assert_eq!(mutant.line(), 3, "{}", mutant.change());
            assert!(is_valid(&apply(mutant, &long)) && is_valid(&apply(mutant, &short)));
            assert_ne!(apply(mutant, &short), short);
        }
    }

    #[test]
    fn every_kind_is_planted_and_nothing_outside_of_functions() {
        let changes: Vec<String> = choose(TEXT, 100).iter().map(Mutant::change).collect();
        let all = changes.join("\n");
        for part in [
            "a - 1u",
            "i <= N",
            "x[(t) + 1] +=",
            "f(i) + 2u",
            "left out",
            "t < 4u",
            "max(x[t]",
            "(N) / 2",
            "a + 2u",
        ] {
            assert!(all.contains(part), "no `{part}` in\n{all}");
        }
        assert!(!all.contains("against") && !all.contains("array<") && !all.contains("i--"), "{all}");
        assert!(choose(TEXT, 100).iter().all(|m| is_valid(&apply(m, TEXT))));
    }

    #[test]
    fn the_choice_is_the_same_each_time_and_has_every_kind() {
        assert_eq!(choose(TEXT, 9), choose(TEXT, 9));
        assert_eq!(choose(TEXT, 9).len(), 9);
        assert!(choose(TEXT, 9).iter().any(|m| m.change().contains("left out")));
    }
}
