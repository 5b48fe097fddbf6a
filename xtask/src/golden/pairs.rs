//! Pair graphs: lists of pairs in a JSON file, `cases: [{n, graph, symmetrize, prefilter, sorted, ordered, ..}]`.
//!
//! Pairs of a photo with itself are defects of the reference and are taken out of its lists. Where the reference
//! stops with an exception, an error or an empty list is right.

use super::Report;
use anyhow::Context as _;
use serde_json::Value;
use std::path::Path;
use steropes_scene::pair_graph::{PairFilter, PairGraph, PairGraphError};

/// Runs all cases of the file; one check per graph, with the first differing case in its line.
///
/// # Errors
/// The file cannot be read or is not laid out as above.
pub(super) fn run(path: &Path, report: &mut Report<'_>) -> anyhow::Result<()> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file: Value =
        serde_json::from_slice(&std::fs::read(path).with_context(|| path.display().to_string())?)?;
    let cases = file["cases"].as_array().context("`cases` is a list")?;
    let mut graphs: Vec<&str> = cases.iter().filter_map(|c| c["graph"].as_str()).collect();
    graphs.sort_unstable();
    graphs.dedup();
    for graph in graphs {
        let cases: Vec<_> = cases.iter().filter(|c| c["graph"] == graph).collect();
        let verdict =
            cases.iter().try_for_each(|case| check(graph, case).map_err(|e| format!("{e}: {case}")));
        report.verdict(&format!("{stem}/{graph}"), verdict.map(|()| format!("{} cases", cases.len())));
    }
    Ok(())
}

fn check(graph: &str, case: &Value) -> Result<(), String> {
    let got = pairs(graph, case);
    if case.get("upstream_raises").is_some() {
        return match got {
            Ok(pairs) if !pairs.is_empty() => Err(format!("expected an error or no pairs, got {pairs:?}")),
            _ => Ok(()),
        };
    }
    let got = got?;
    let mut sorted = got.clone();
    sorted.sort_unstable();
    same("sorted", &sorted, &list(&case["sorted"])?)?;
    match case.get("ordered") {
        Some(ordered) => same("ordered", &got, &list(ordered)?),
        None => Ok(()),
    }
}

fn pairs(graph: &str, case: &Value) -> Result<Vec<[usize; 2]>, String> {
    let text = |e: PairGraphError| e.to_string();
    let graph: PairGraph = graph.parse().map_err(text)?;
    let filter = case["prefilter"].as_str().map(str::parse::<PairFilter>).transpose().map_err(text)?;
    let photos = case["n"].as_u64().ok_or("`n` is a number")? as usize;
    let symmetrize = case["symmetrize"].as_bool().ok_or("`symmetrize` is true or false")?;
    graph.ordered_pairs(photos, symmetrize, filter).map_err(text)
}

/// A stored list without its pairs of a photo with itself.
fn list(value: &Value) -> Result<Vec<[usize; 2]>, String> {
    let pairs: Vec<[usize; 2]> = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    Ok(pairs.into_iter().filter(|[i, j]| i != j).collect())
}

fn same(what: &str, got: &[[usize; 2]], want: &[[usize; 2]]) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: got {got:?}, want {want:?}")) }
}
