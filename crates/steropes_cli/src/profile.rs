//! Where the time of a GPU went: a table, and a trace for chrome://tracing or ui.perfetto.dev.

use crate::output::write_file;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use steropes_tensor::{Device, Span};

/// The launches of one kernel together.
struct Total {
    name: &'static str,
    launches: usize,
    seconds: f64,
}

/// Kernels with their launches and seconds, the most expensive first.
fn totals(spans: &[Span]) -> Vec<Total> {
    let mut by_name: HashMap<&'static str, (usize, f64)> = HashMap::new();
    for span in spans {
        let (launches, seconds) = by_name.entry(span.name).or_default();
        *launches += 1;
        *seconds += span.seconds;
    }
    let total = |(name, (launches, seconds))| Total { name, launches, seconds };
    let mut totals: Vec<Total> = by_name.into_iter().map(total).collect();
    totals.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.name.cmp(b.name)));
    totals
}

/// One line per kernel.
///
/// # Errors
/// `out` cannot be written.
pub(crate) fn write_table(out: &mut dyn Write, spans: &[Span]) -> std::io::Result<()> {
    let totals = totals(spans);
    let busy: f64 = totals.iter().map(|t| t.seconds).sum();
    let last = spans.iter().map(|s| s.start + s.seconds).fold(0.0, f64::max);
    writeln!(out, "{} launches, {:.1} ms of work in {:.1} ms", spans.len(), 1e3 * busy, 1e3 * last)?;
    let width = totals.iter().map(|t| t.name.len()).max().unwrap_or(0).max("kernel".len());
    writeln!(out, "{:width$}  {:>8}  {:>10}  {:>6}  {:>10}", "kernel", "launches", "ms", "share", "us each")?;
    for Total { name, launches, seconds } in totals {
        let (share, each) = (100.0 * seconds / busy.max(1e-12), 1e6 * seconds / launches as f64);
        writeln!(out, "{name:width$}  {launches:>8}  {:>10.2}  {share:>5.1}%  {each:>10.1}", 1e3 * seconds)?;
    }
    Ok(())
}

/// The launches in the trace event format, times in microseconds.
fn trace(device: &str, spans: &[Span]) -> Value {
    let mut events = vec![
        json!({ "ph": "M", "name": "process_name", "pid": 1, "args": { "name": device } }),
        json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": { "name": "launches" } }),
    ];
    events.extend(spans.iter().map(|span| {
        json!({
            "ph": "X", "name": span.name, "cat": "kernel", "pid": 1, "tid": 1,
            "ts": 1e6 * span.start, "dur": 1e6 * span.seconds,
        })
    }));
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

/// Writes the trace to `place`, or to `out` for `-`.
///
/// # Errors
/// It cannot be written, or `place` exists and `force` is off.
pub(crate) fn write_trace(
    place: &Path,
    force: bool,
    device: &str,
    spans: &[Span],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let trace = trace(device, spans);
    if place == Path::new("-") {
        return writeln!(out, "{trace}").context("writing the trace");
    }
    write_file(place, force, |path| Ok(std::fs::write(path, trace.to_string())?))
}

/// Runs `work`; if a trace is asked for, times every launch on the GPU meanwhile, and writes the table and the trace to `place`.
///
/// # Errors
/// Those of `work`; or the device is no GPU, or the trace cannot be written.
pub(crate) fn profiled<T>(
    place: Option<&Path>,
    force: bool,
    device: &Device,
    out: &mut dyn Write,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Some(place) = place else { return work() };
    let Some(gpu) = device.gpu() else {
        bail!("--profile reads the clock of a GPU: choose one with --device");
    };
    let (result, spans) = gpu.profile(work)?;
    let result = result?;
    write_table(&mut std::io::stderr(), &spans)?;
    write_trace(place, force, device.name(), &spans, out)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans() -> Vec<Span> {
        [("a", 0.0, 0.001), ("b", 0.002, 0.003), ("a", 0.005, 0.001)]
            .map(|(name, start, seconds)| Span { name, start, seconds })
            .to_vec()
    }

    #[test]
    fn the_table_adds_launches_of_one_name_and_begins_with_the_longest() {
        let mut text = Vec::new();
        write_table(&mut text, &spans()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert!(text.starts_with("3 launches, 5.0 ms of work in 6.0 ms\n"), "{text}");
        assert_eq!(lines[2], ["b", "1", "3.00", "60.0%", "3000.0"]);
        assert_eq!(lines[3], ["a", "2", "2.00", "40.0%", "1000.0"]);
    }

    #[test]
    fn the_trace_counts_microseconds() {
        let trace = trace("gpu", &spans());
        let event = &trace["traceEvents"][3];
        assert_eq!((event["name"].as_str(), event["ph"].as_str()), (Some("b"), Some("X")));
        assert_eq!((event["ts"].as_f64(), event["dur"].as_f64()), (Some(2000.0), Some(3000.0)));
    }

    #[test]
    fn nothing_was_launched() {
        let mut text = Vec::new();
        write_table(&mut text, &[]).unwrap();
        assert!(text.starts_with(b"0 launches"));
    }
}
