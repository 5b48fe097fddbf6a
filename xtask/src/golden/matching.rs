//! Nearest neighbours, the fast reciprocal search and the extraction of matches.
//!
//! Cases are the prefixes of tensor names, their parameters stand in the manifest. A row is compared exactly if the stored
//! distance between its best and second-best candidate, where there is one, exceeds the manifest's tolerance.

use super::{Report, TensorFile};
use anyhow::Context as _;
use serde_json::Value;
use steropes_ops::matching::nearest_neighbors::{Database, Search, nearest_neighbors_by};
use steropes_scene::matching::{
    DescriptorMap, FrameMaps, Matches, Metric, PairLookup, ReciprocalMatches, ReciprocalOptions, Seeds,
    Tracks, bruteforce_reciprocal_nns, extract_correspondences, extract_correspondences_nonsym,
    fast_reciprocal_nns,
};
use steropes_tensor::Tensor;
use steropes_testkit::{Tolerance, check_equal};

/// Exhaustive search in both directions: tensors `SET.{a,b}` and `SET.METRIC.{nn_a,nn_b,gap_a,gap_b,mutual}`.
///
/// # Errors
/// A tensor or parameter is missing.
pub(super) fn nearest(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["params"]["cases"].as_object().context("`params.cases` is an object")?;
    for (case, params) in cases {
        let (metric, metric_name) = metric(&params["dist"])?;
        let (set, _) = case.rsplit_once('.').context("a case is named SET.METRIC")?;
        let [a, b] = ["a", "b"].map(|side| file.tensor(&format!("{set}.{side}"), &report.device()));
        let (a, b) = (a?, b?);
        let both = bruteforce_reciprocal_nns(&a, &b, metric)?;
        let threshold = gap_threshold(file, metric_name);
        let mut all_clear = true;
        for (side, got) in [("a", &both.nearest_in_2), ("b", &both.nearest_in_1)] {
            let gap = format!("{case}.gap_{side}");
            let clear = clear_rows(file, &gap, got.len(), threshold)?;
            all_clear &= clear.iter().all(|c| *c);
            let want = file.i64(&format!("{case}.nn_{side}"))?;
            report.verdict(&format!("{}/{case}.nn_{side}", file.stem()), rows_equal(got, &want, &clear));
        }
        let mutual = format!("{case}.mutual");
        if file.has(&mutual) && all_clear {
            let got: Vec<i64> = both.mutual().into_iter().flatten().map(i64::from).collect();
            report.verdict(&format!("{}/{mutual}", file.stem()), equal(&got, &file.i64(&mutual)?));
        }
        all_searches_agree(file, case, [&a, &b], metric, report)?;
    }
    Ok(())
}

/// The filter and the exact kernel must give the same rows, whatever the margins.
fn all_searches_agree(
    file: &TensorFile,
    case: &str,
    [a, b]: [&Tensor; 2],
    metric: Metric,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let database = Database::new(b, metric)?;
    let by = |search| -> anyhow::Result<Vec<u32>> {
        Ok(nearest_neighbors_by(a, &database, search)?.indices.read()?)
    };
    let exact = by(Search::Exact)?;
    for (name, search) in [("auto", Search::Auto), ("filtered", Search::Filtered)] {
        let verdict = check_equal(&by(search)?, &exact).map(|()| format!("{} rows", exact.len()));
        report.verdict(&format!("{}/{case}.{name}_equals_exact", file.stem()), verdict);
    }
    Ok(())
}

/// The fast reciprocal search: maps `CASE.{map1,map2}` and per run `CASE.RUN.*`, or `CASE.*` for a case without runs.
///
/// # Errors
/// A tensor or parameter is missing.
pub(super) fn fast(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["params"]["cases"].as_object().context("`params.cases` is an object")?;
    for (case, params) in cases {
        match params["runs"].as_object() {
            Some(runs) => {
                for (run, of_run) in runs {
                    fast_run(file, &format!("{case}.{run}"), case, [params, of_run], report)?;
                }
            }
            None => fast_run(file, case, case, [params, params], report)?,
        }
    }
    Ok(())
}

/// One run; `prefix` leads its tensors.
fn fast_run(
    file: &TensorFile,
    prefix: &str,
    case: &str,
    [of_case, of_run]: [&Value; 2],
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let (metric, metric_name) = metric(&of_run["metric"])?;
    let device = report.device();
    let map = |name: &str| -> anyhow::Result<DescriptorMap> {
        Ok(DescriptorMap::new(&file.tensor(&format!("{case}.{name}"), &device)?, metric)?)
    };
    let (mut map_1, mut map_2) = (map("map1")?, map("map2")?);
    if of_run["direction"] == "2->1" {
        std::mem::swap(&mut map_1, &mut map_2);
    }
    let pixel_tol = of_run["pixel_tol"].as_f64().unwrap_or(0.0) as f32;
    let step = of_case["S"].as_u64().context("`S` is the distance of the seeds")? as usize;
    let basin = of_run["ret_basin"].as_bool().unwrap_or(false);
    let seeds = seeds(file, prefix, case, &map_1, step)?;
    let found = fast_reciprocal_nns(&map_1, &map_2, &ReciprocalOptions { seeds, pixel_tol, basin })?;

    let run = Run { file, prefix, threshold: gap_threshold(file, metric_name), map_1: &map_1, map_2: &map_2 };
    run.check_matches(&found, report)?;
    run.check_tracks(&found, report)?;
    run.check_rounds(basin, report)
}

/// The seeds of a run. Runs on explicit seeds store other seeds than the grid's; which list they started from is
/// `CASE.explicit_x`, `CASE.explicit_y` if the sorted list is the run's.
fn seeds(
    file: &TensorFile,
    prefix: &str,
    case: &str,
    map: &DescriptorMap,
    step: usize,
) -> anyhow::Result<Seeds> {
    let (x, y) = (format!("{case}.explicit_x"), format!("{case}.explicit_y"));
    let stored = format!("{prefix}.seeds");
    if file.has(&x) && file.has(&stored) {
        let (x, y) = (file.i64(&x)?, file.i64(&y)?);
        let pixels: Vec<_> = x.iter().zip(&y).map(|(x, y)| [*x as u32, *y as u32]).collect();
        let inside = pixels.iter().all(|[x, y]| (*x as usize) < map.width() && (*y as usize) < map.height());
        let mut sorted: Vec<i64> = pixels.iter().map(|p| i64::from(map.pixel(*p))).collect();
        sorted.sort_unstable();
        sorted.dedup();
        if inside && sorted == file.i64(&stored)? {
            return Ok(Seeds::Pixels(pixels));
        }
    }
    Ok(Seeds::Grid(step))
}

struct Run<'a> {
    file: &'a TensorFile,
    prefix: &'a str,
    threshold: f64,
    map_1: &'a DescriptorMap,
    map_2: &'a DescriptorMap,
}

impl Run<'_> {
    fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }

    fn check_name(&self, what: &str) -> String {
        format!("{}/{}.{what}", self.file.stem(), self.prefix)
    }

    /// Tracks that met no two candidates too close to each other.
    fn clear(&self, tracks: usize) -> anyhow::Result<Vec<bool>> {
        clear_rows(self.file, &self.name("seed_min_gap"), tracks, self.threshold)
    }

    /// The merged list. Pairs that only an unclear track can have given or taken are left out on both sides.
    fn check_matches(&self, found: &ReciprocalMatches, report: &mut Report<'_>) -> anyhow::Result<()> {
        let clear = self.clear(found.tracks.seeds.len())?;
        let idx1 = self.file.i64(&self.name("idx1"))?;
        let idx2 = self.file.i64(&self.name("idx2"))?;
        let want: Vec<[i64; 2]> = idx1.into_iter().zip(idx2).map(|(p, q)| [p, q]).collect();
        let got = pairs(&found.pixels_1, &found.pixels_2);
        if clear.iter().all(|c| *c) {
            report.verdict(&self.check_name("idx"), equal(&got, &want));
            self.check_positions(found, report)?;
            return Ok(());
        }
        let doubtful = self.doubtful_pairs(found, &clear)?;
        let certain = |pairs: &[[i64; 2]]| -> Vec<_> {
            pairs.iter().copied().filter(|p| !doubtful.contains(p)).collect()
        };
        report.verdict(&self.check_name("idx"), equal(&certain(&got), &certain(&want)));
        Ok(())
    }

    /// What the unclear tracks gave, here and in the reference.
    fn doubtful_pairs(&self, found: &ReciprocalMatches, clear: &[bool]) -> anyhow::Result<Vec<[i64; 2]>> {
        let (p, q) = (self.file.i64(&self.name("seed_p"))?, self.file.i64(&self.name("seed_q"))?);
        let seeds = &found.tracks.seeds;
        Ok((0..clear.len())
            .filter(|t| !clear[*t])
            .flat_map(|t| {
                let mine =
                    [i64::from(found.tracks.pixels_1[t]), found.tracks.pixels_2[t].map_or(-1, i64::from)];
                let seed = i64::from(seeds[t]);
                [mine, [p[t], q[t]], [seed, mine[1]], [seed, q[t]]]
            })
            .collect())
    }

    fn check_positions(&self, found: &ReciprocalMatches, report: &mut Report<'_>) -> anyhow::Result<()> {
        for (what, map, pixels) in
            [("xy1", self.map_1, &found.pixels_1), ("xy2", self.map_2, &found.pixels_2)]
        {
            if self.file.has(&self.name(what)) {
                let got: Vec<i64> = pixels.iter().flat_map(|p| map.xy(*p)).map(i64::from).collect();
                report.verdict(&self.check_name(what), equal(&got, &self.file.i64(&self.name(what))?));
            }
        }
        Ok(())
    }

    /// The end of every track, and the basin.
    fn check_tracks(&self, found: &ReciprocalMatches, report: &mut Report<'_>) -> anyhow::Result<()> {
        let tracks = &found.tracks;
        let clear = self.clear(tracks.seeds.len())?;
        let converged: Vec<_> = found.converged.iter().map(|c| i64::from(*c)).collect();
        for (what, got) in [
            ("seeds", integers(&tracks.seeds)),
            ("seed_p", integers(&tracks.pixels_1)),
            ("seed_q", optional(&tracks.pixels_2)),
            ("seed_converged", converged),
        ] {
            if self.file.has(&self.name(what)) {
                let want = self.file.i64(&self.name(what))?;
                report.verdict(&self.check_name(what), signed_rows_equal(&got, &want, &clear));
            }
        }
        if self.file.has(&self.name("basin")) {
            // One more place than pixels, for tracks that have not come to photo 2: never filled.
            let mut got = optional(&found.basin);
            got.push(-1);
            let want = self.file.i64(&self.name("basin"))?;
            let clear = vec![clear.iter().all(|c| *c); got.len()];
            report.verdict(&self.check_name("basin"), signed_rows_equal(&got, &want, &clear));
        }
        Ok(())
    }

    /// The state after every round.
    fn check_rounds(&self, basin: bool, report: &mut Report<'_>) -> anyhow::Result<()> {
        if !self.file.has(&self.name("round_p")) {
            return Ok(());
        }
        let shape = self.file.shape(&self.name("round_p"))?;
        let &[states, count] = &shape[..] else { anyhow::bail!("`round_p` is [rounds + 1, seeds]") };
        let (p, q) = (self.file.i64(&self.name("round_p"))?, self.file.i64(&self.name("round_q"))?);
        let active = self.file.i64(&self.name("round_active"))?;
        let clear = self.clear(count)?;
        let mut lookup = PairLookup::new(self.map_1, self.map_2)?;
        let mut tracks = Tracks::new(p[..count].iter().map(|p| *p as u32).collect());
        let mut visited = vec![None; if basin { self.map_1.pixels() } else { 0 }];
        let mut verdict = Ok(format!("{} rounds of {count} seeds", states - 1));
        for round in 0..states {
            if round > 0 {
                tracks.advance(&mut lookup, basin.then_some(&mut visited[..]))?;
            }
            let row = round * count..(round + 1) * count;
            let moving: Vec<_> = tracks.active.iter().map(|a| i64::from(*a)).collect();
            let state = signed_rows_equal(&integers(&tracks.pixels_1), &p[row.clone()], &clear)
                .and_then(|_| signed_rows_equal(&optional(&tracks.pixels_2), &q[row.clone()], &clear))
                .and_then(|_| signed_rows_equal(&moving, &active[row], &clear));
            if let (Ok(_), Err(error)) = (&verdict, state) {
                verdict = Err(format!("round {round}: {error}"));
            }
        }
        report.verdict(&self.check_name("rounds"), verdict);
        Ok(())
    }
}

/// Matches with confidences: maps `dVF`, `qVF` of view V in frame F, and per variant `VARIANT.{xy1,xy2,conf}`, `sym` or
/// `nonsym_tolT`.
///
/// # Errors
/// A tensor or parameter is missing.
pub(super) fn correspondences(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let step = file.entry()["params"]["subsample"].as_u64().context("`subsample` is a number")? as usize;
    let device = report.device();
    let maps = ["11", "21", "12", "22"]
        .into_iter()
        .map(|m| Ok([file.tensor(&format!("d{m}"), &device)?, file.tensor(&format!("q{m}"), &device)?]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let frame = |first: usize| FrameMaps {
        descriptors_1: &maps[first][0],
        confidence_1: &maps[first][1],
        descriptors_2: &maps[first + 1][0],
        confidence_2: &maps[first + 1][1],
    };
    let mut variants: Vec<String> =
        file.names().iter().filter_map(|n| n.strip_suffix(".conf").map(str::to_owned)).collect();
    variants.sort();
    for variant in variants {
        let found = match variant.strip_prefix("nonsym_tol") {
            Some(tolerance) => extract_correspondences_nonsym(frame(0), step, tolerance.parse()?)?,
            None => extract_correspondences(&[frame(0), frame(2)], step)?,
        };
        check_variant(file, &variant, &found, report)?;
    }
    Ok(())
}

fn check_variant(
    file: &TensorFile,
    variant: &str,
    found: &Matches,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    for (what, xy) in [("xy1", &found.xy1), ("xy2", &found.xy2)] {
        let got: Vec<i64> = xy.iter().flatten().map(|v| i64::from(*v)).collect();
        let name = format!("{variant}.{what}");
        report.verdict(&format!("{}/{name}", file.stem()), equal(&got, &file.i64(&name)?));
    }
    let name = format!("{variant}.conf");
    let want = file.f64(&name)?;
    let relative = number_in(&file.entry()["tolerance"]["conf"]).unwrap_or(2e-7);
    // The tolerance is relative to each value; of values divided by what they should be, the largest is 1.
    let got: Vec<f32> = found.confidence.iter().zip(&want).map(|(g, w)| (f64::from(*g) / w) as f32).collect();
    let verdict_name = format!("{}/{name}", file.stem());
    if found.confidence.len() == want.len() {
        report.close(&verdict_name, &got, &vec![1.0; want.len()], Tolerance::Absolute(relative));
    } else {
        let lengths = format!("{} values, expected {}", found.confidence.len(), want.len());
        report.verdict(&verdict_name, Err(lengths));
    }
    Ok(())
}

/// The metric and the name that the manifest gives it.
fn metric(value: &Value) -> anyhow::Result<(Metric, &str)> {
    match value.as_str() {
        Some(name @ "dot") => Ok((Metric::Dot, name)),
        Some(name @ "l2") => Ok((Metric::Euclidean, name)),
        _ => anyhow::bail!("unknown metric {value}"),
    }
}

/// The manifest's distance between best and second best that makes a row comparable: the number before `(METRIC)`, or the
/// first one, of a text like `exact where gap > 2e-6 (dot) / 2e-6 (l2)`.
fn gap_threshold(file: &TensorFile, metric: &str) -> f64 {
    let text = file.entry()["tolerance"]["indices"].as_str().unwrap_or_default();
    let before = text.split(&format!("({metric})")).next().unwrap_or_default();
    let after_sign = |text: &str| text.rsplit(['>', '/']).next().and_then(|t| number_in(&Value::from(t)));
    after_sign(before).or_else(|| number_in(&Value::from(text))).unwrap_or(0.0)
}

/// The first number in scientific notation in a text.
fn number_in(text: &Value) -> Option<f64> {
    let words = text.as_str()?.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')));
    words.filter(|w| w.contains('e')).find_map(|w| w.parse().ok())
}

/// Which rows are comparable: all, where no gaps are stored.
fn clear_rows(file: &TensorFile, gaps: &str, rows: usize, threshold: f64) -> anyhow::Result<Vec<bool>> {
    if !file.has(gaps) {
        return Ok(vec![true; rows]);
    }
    Ok(file.f64(gaps)?.into_iter().map(|gap| gap > threshold).collect())
}

fn rows_equal(got: &[u32], want: &[i64], clear: &[bool]) -> Result<String, String> {
    signed_rows_equal(&integers(got), want, clear)
}

fn signed_rows_equal(got: &[i64], want: &[i64], clear: &[bool]) -> Result<String, String> {
    if got.len() != want.len() || got.len() != clear.len() {
        return Err(format!("{} rows, expected {}", got.len(), want.len()));
    }
    let compared = clear.iter().filter(|c| **c).count();
    match (0..got.len()).find(|i| clear[*i] && got[*i] != want[*i]) {
        None => Ok(format!("{compared} of {} rows compared", got.len())),
        Some(i) => Err(format!("row {i}: got {}, want {}", got[i], want[i])),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(got: &[T], want: &[T]) -> Result<String, String> {
    check_equal(got, want).map(|()| format!("{} equal", got.len()))
}

fn integers(values: &[u32]) -> Vec<i64> {
    values.iter().map(|v| i64::from(*v)).collect()
}

fn optional(values: &[Option<u32>]) -> Vec<i64> {
    values.iter().map(|v| v.map_or(-1, i64::from)).collect()
}

fn pairs(first: &[u32], second: &[u32]) -> Vec<[i64; 2]> {
    first.iter().zip(second).map(|(p, q)| [i64::from(*p), i64::from(*q)]).collect()
}
