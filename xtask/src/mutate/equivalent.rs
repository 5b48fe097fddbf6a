//! Mistakes that change no result: `equivalent.json`, and the place in the sources of every line of a kernel.
//!
//! An entry names one line of one file by its text, and which of the equal ones it is, so that it covers no other line and stays
//! with its line when others come or go. One whose line has changed is an error: whoever changed it looks at the reason again.

use super::mutants::{Mutant, is_generated};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::fmt;
use std::path::Path;

/// A line of a kernel as it stands in the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceLine {
    /// Below `crates/`; for text that a program writes `text of KERNEL`, for launches `launch of KERNEL`.
    pub(super) file: String,
    /// From 1, in text that a program writes that of the kernel's code; 0 for launches.
    pub(super) line: usize,
    /// Which of the equal lines of its file it is, from 1; 1 for launches.
    nth: usize,
}

impl SourceLine {
    /// That of a launch.
    pub(super) fn launch(kernel: &str) -> Self {
        Self { file: format!("launch of {kernel}"), line: 0, nth: 1 }
    }

    fn written(kernel: &str, line: usize, nth: usize) -> Self {
        Self { file: format!("text of {kernel}"), line, nth }
    }

    /// The name of its file, for a table.
    pub(super) fn file_name(&self) -> &str {
        let name = self.file.rsplit('/').next().filter(|_| self.is_in_file());
        name.unwrap_or("text that Rust writes")
    }

    /// Whether it stands in a file of the repository.
    pub(super) fn is_in_file(&self) -> bool {
        self.file.ends_with(".wgsl")
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// The lines of all kernel files.
pub(super) struct Sources {
    /// By their path below `crates/`, the longest first.
    files: Vec<(String, Vec<String>)>,
}

impl Sources {
    /// Those of this repository.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn read() -> anyhow::Result<Self> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let mut files = Vec::new();
        let mut folders = vec![crates.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "wgsl") {
                    let name = path.strip_prefix(&crates)?.to_string_lossy().replace('\\', "/");
                    files.push((name, std::fs::read_to_string(&path)?));
                }
            }
        }
        Ok(Self::of(files))
    }

    fn of(files: Vec<(String, String)>) -> Self {
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        let mut files: Vec<(String, Vec<String>)> =
            files.into_iter().map(|(name, text)| (name, lines(text))).collect();
        files.sort_by(|(a, x), (b, y)| (y.len(), a).cmp(&(x.len(), b)));
        Self { files }
    }

    /// Where every line of a kernel's code stands.
    pub(super) fn lines(&self, kernel: &str, text: &str) -> Vec<SourceLine> {
        let lines: Vec<&str> = text.lines().collect();
        let mut found: Vec<Option<SourceLine>> = vec![None; lines.len()];
        for (file, content) in &self.files {
            for start in 0..(lines.len() + 1).saturating_sub(content.len()) {
                let range = start..start + content.len();
                if lines[range.clone()] == content[..] && found[range.clone()].iter().all(Option::is_none) {
                    for (i, found) in found[range].iter_mut().enumerate() {
                        *found = Some(SourceLine { file: file.clone(), line: i + 1, nth: nth(content, i) });
                    }
                }
            }
        }
        let (found, code): (Vec<_>, Vec<&str>) =
            found.into_iter().zip(lines).filter(|(_, line)| !is_generated(line)).unzip();
        let written = |i| SourceLine::written(kernel, i + 1, nth(&code, i));
        found.into_iter().enumerate().map(|(i, found)| found.unwrap_or_else(|| written(i))).collect()
    }

    /// How many lines of a file have this text, without the space around it.
    fn count(&self, file: &str, text: &str) -> usize {
        let of_file = self.files.iter().filter(|(name, _)| name == file).flat_map(|(_, lines)| lines);
        of_file.filter(|line| line.trim() == text).count()
    }
}

/// Which of the lines with its text, without the space around it, the line `i` is, from 1.
fn nth(lines: &[impl AsRef<str>], i: usize) -> usize {
    let text = |line: usize| lines[line].as_ref().trim();
    (0..=i).filter(|&line| text(line) == text(i)).count()
}

/// A mistake that changes no result, with the reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Equivalent {
    file: String,
    /// The line, without the space around it; empty for launches.
    was: String,
    /// Which of the equal lines of the file, from 1.
    #[serde(default = "first")]
    nth: usize,
    /// What stands there with the mistake; empty if it is left out.
    becomes: String,
    pub(super) reason: String,
}

fn first() -> usize {
    1
}

impl Equivalent {
    /// Whether it is about a kernel, but not about a line of a file.
    pub(super) fn is_about_text_or_launch_of(&self, kernel: &str) -> bool {
        self.file == SourceLine::launch(kernel).file || self.file == SourceLine::written(kernel, 0, 1).file
    }

    /// Whether it is about this mistake in this place.
    pub(super) fn covers(&self, place: &SourceLine, mutant: &Mutant) -> bool {
        let (was, becomes) = mutant.texts();
        (self.file.as_str(), self.nth, self.was.as_str(), self.becomes.as_str())
            == (place.file.as_str(), place.nth, was.as_str(), becomes.as_str())
    }
}

impl fmt::Display for Equivalent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): `{}` -> `{}`", self.file, self.nth, self.was, self.becomes)
    }
}

/// The known ones.
///
/// # Errors
/// An entry whose line is not in its file, or that stands there twice.
pub(super) fn known(sources: &Sources) -> anyhow::Result<Vec<Equivalent>> {
    let known: Vec<Equivalent> = serde_json::from_str(include_str!("equivalent.json"))?;
    check(&known, sources)?;
    Ok(known)
}

fn check(known: &[Equivalent], sources: &Sources) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (i, entry) in known.iter().enumerate() {
        let there = sources.count(&entry.file, &entry.was);
        if entry.file.ends_with(".wgsl") && !(1..=there).contains(&entry.nth) {
            wrong.push(format!("{entry}: the file has {there} such lines"));
        }
        if known[..i].iter().any(|other| other.to_string() == entry.to_string()) {
            wrong.push(format!("{entry}: it stands there twice"));
        }
    }
    ensure!(wrong.is_empty(), "equivalent.json has to be repaired:\n{}", wrong.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let files = [
            ("a/k.wgsl", "fn f() {\n    x += 1u;\n    x += 1u;\n}\n"),
            ("b/g.wgsl", "const N: u32 = 3u;\nfn g() {}\n"),
        ];
        Sources::of(files.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec())
    }

    fn entry(nth: usize, was: &str) -> Equivalent {
        let (file, becomes) = ("a/k.wgsl".to_owned(), "x += 2u;".to_owned());
        Equivalent { file, nth, was: was.to_owned(), becomes, reason: String::new() }
    }

    #[test]
    fn lines_are_found_in_their_files() {
        let text = "enable f16;\nconst N: u32 = 3u;\nfn g() {}\nfn h() {}\nfn f() {\n    x += 1u;\n    x += 1u;\n}\n";
        let lines: Vec<String> = sources().lines("k", text).iter().map(SourceLine::to_string).collect();
        let want = ["b/g.wgsl:2", "text of k:2", "a/k.wgsl:1", "a/k.wgsl:2", "a/k.wgsl:3", "a/k.wgsl:4"];
        assert_eq!(lines, want);
    }

    #[test]
    fn an_entry_covers_one_line() {
        let mutant =
            |line| Mutant::Line { line, was: "    x += 1u;".to_owned(), becomes: "    x += 2u;".to_owned() };
        let lines = sources().lines("k", "fn f() {\n    x += 1u;\n    x += 1u;\n}\n");
        let second = entry(2, "x += 1u;");
        assert!(!second.covers(&lines[1], &mutant(1)));
        assert!(second.covers(&lines[2], &mutant(2)));
        // In text that stands in no file they are counted too.
        let written = sources().lines("k", "fn f() {\n    y();\n    y();\n");
        assert_eq!(written.iter().map(|line| line.nth).collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn an_entry_whose_line_changed_is_an_error() {
        let said = |entries: &[Equivalent]| check(entries, &sources()).map_err(|e| e.to_string());
        assert_eq!(said(&[entry(1, "x += 1u;"), entry(2, "x += 1u;")]), Ok(()));
        for wrong in [entry(0, "x += 1u;"), entry(3, "x += 1u;"), entry(1, "x += 3u;")] {
            assert!(said(&[wrong]).is_err_and(|e| e.contains("such lines")));
        }
        assert!(said(&[entry(2, "x += 1u;"), entry(2, "x += 1u;")]).is_err_and(|e| e.contains("twice")));
    }

    #[test]
    fn the_known_ones_are_in_their_places() {
        let sources = Sources::read().expect("the kernels of this repository");
        known(&sources).expect("equivalent.json fits them");
    }
}
