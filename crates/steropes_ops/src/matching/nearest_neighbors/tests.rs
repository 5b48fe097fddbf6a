use super::bench::smooth_descriptors;
use super::{
    Asked, Database, Metric, Search, cpu, gpu, nearest_neighbors, nearest_neighbors_by, nearest_neighbors_of,
    reference,
};
use crate::cpu::{Isa, with_isa};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Verdict, case, check_equal, expect_error, gpu_case, inputs, small_bindings_case,
};

const METRICS: [Metric; 2] = [Metric::Dot, Metric::Euclidean];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("nearest_neighbors/oracle/one_row_one_column", |d| against_oracle(d, 1, 1, 1)),
        case("nearest_neighbors/oracle/odd_sizes", |d| against_oracle(d, 37, 211, 24)),
        case("nearest_neighbors/oracle/many_panels_and_chunks", |d| against_oracle(d, 611, 1303, 24)),
        case("nearest_neighbors/oracle/depths", |d| {
            [2, 3, 4, 5, 9, 16, 23, 25, 32, 67, 256]
                .into_iter()
                .try_for_each(|depth| against_oracle(d, 19, 307, depth))
        }),
        case("nearest_neighbors/oracle/photo_descriptors", photo_descriptors),
        case("nearest_neighbors/property/all_forms_agree", |_| all_forms_agree()),
        case("nearest_neighbors/property/ties_take_the_lowest_index", |_| ties()),
        case("nearest_neighbors/property/exact_sums_are_answered_as_by_the_oracle", exact_sums),
        case("nearest_neighbors/property/of_equal_rows_the_first", of_equal_rows_the_first),
        case("nearest_neighbors/property/rows_of_nan_are_not_found", rows_of_nan_are_not_found),
        case("nearest_neighbors/property/infinite_scores_are_found", infinite_scores_are_found),
        gpu_case("nearest_neighbors/property/any_plan_gives_the_same", any_plan_gives_the_same),
        small_bindings_case("nearest_neighbors/property/small_bindings", 4096, rows_in_many_bindings),
        case("nearest_neighbors/property/any_split_gives_the_same", |_| any_split_gives_the_same()),
        case("nearest_neighbors/property/a_row_finds_itself", a_row_finds_itself),
        case("nearest_neighbors/property/nan_never_wins", |_| nan_never_wins()),
        case("nearest_neighbors/property/extreme_values", |_| extreme_values()),
        case("nearest_neighbors/property/nothing_is_skipped_at_the_edge", |_| {
            nothing_is_skipped_at_the_edge()
        }),
        case("nearest_neighbors/property/the_filter_skips_and_gives_up", |_| the_filter_skips_and_gives_up()),
        case("nearest_neighbors/property/no_queries", |d| {
            let nearest = nearest_neighbors(&on(d, &[0, 3], &[]), &database(d, &[1.0; 6], 3, Metric::Dot)?);
            check_equal(nearest.map_err(text)?.shape(), &[0])
        }),
        case("nearest_neighbors/property/only_what_is_asked", only_what_is_asked),
        case("nearest_neighbors/error/rows", |d| {
            let refused = |shape: &[usize]| {
                expect_error(Database::new(&Tensor::zeros::<f32>(d, shape), Metric::Dot), "`rows` must be")
            };
            refused(&[3])?;
            refused(&[2, 3, 4])?;
            refused(&[0, 3])?;
            refused(&[3, 0])?;
            let integers = Tensor::zeros::<u32>(d, &[2, 3]);
            expect_error(Database::new(&integers, Metric::Dot), "`rows` must hold f32")
        }),
        case("nearest_neighbors/error/queries", |d| {
            let database = database(d, &[1.0; 6], 3, Metric::Dot)?;
            let asked = |queries: Tensor, part| expect_error(nearest_neighbors(&queries, &database), part);
            asked(Tensor::zeros::<f32>(d, &[2, 4]), "`queries` must be [queries, 3], got [2, 4]")?;
            asked(Tensor::zeros::<f32>(d, &[3]), "`queries` must be [queries, 3], got [3]")?;
            asked(Tensor::zeros::<u32>(d, &[2, 3]), "`queries` must hold f32")
        }),
        gpu_case("nearest_neighbors/error/device", |d| {
            let database = database(d, &[1.0; 6], 3, Metric::Dot)?;
            let queries = Tensor::zeros::<f32>(&Device::Cpu, &[2, 3]);
            expect_error(nearest_neighbors(&queries, &database), "`queries` must be on")
        }),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn on(device: &Device, shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(device, shape, data.to_vec()).expect("the data fills the shape")
}

fn database(device: &Device, rows: &[f32], depth: usize, metric: Metric) -> Result<Database, String> {
    Database::new(&on(device, &[rows.len() / depth, depth], rows), metric).map_err(text)
}

/// Random normal queries and rows; equal to the oracle wherever the oracle's best is clearly ahead of what was found.
fn against_oracle(device: &Device, queries: usize, rows: usize, depth: usize) -> Verdict {
    let q = inputs::normal(&format!("nn/q{queries}x{depth}"), queries * depth);
    let k = inputs::normal(&format!("nn/k{rows}x{depth}"), rows * depth);
    for metric in METRICS {
        let database = database(device, &k, depth, metric)?;
        for search in [Search::Auto, Search::Exact, Search::Filtered] {
            let queries = on(device, &[queries, depth], &q);
            let got = nearest_neighbors_by(&queries, &database, search).map_err(text)?;
            check_scores(metric, &got.indices.read().map_err(text)?, &q, &k, depth)?;
        }
    }
    Ok(())
}

/// Each index found must be the oracle's, or score as much within the rounding of two f32 sums.
fn check_scores(metric: Metric, got: &[u32], queries: &[f32], rows: &[f32], depth: usize) -> Verdict {
    let want = reference::nearest_neighbors(metric, queries, rows, depth);
    if got.len() != want.len() {
        return Err(format!("{} indices, expected {}", got.len(), want.len()));
    }
    for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
        let query = &queries[i * depth..(i + 1) * depth];
        let row = |j: u32| &rows[j as usize * depth..(j as usize + 1) * depth];
        let score = |j: u32| reference::score(metric, query, row(j));
        let squares = |x: &[f32]| x.iter().map(|v| f64::from(v * v)).sum::<f64>();
        let size = squares(query) + squares(row(want)) + squares(row(got));
        let rounding = 2.0 * (depth + 2) as f64 * 2f64.powi(-24) * size;
        if got != want && score(want) - score(got) > rounding {
            return Err(format!("{metric:?}, query {i}: got row {got}, want {want}"));
        }
    }
    Ok(())
}

fn photo_descriptors(device: &Device) -> Verdict {
    let (map, other) = (smooth_descriptors(64, 48, 0.0), smooth_descriptors(64, 48, 3.7));
    let database = database(device, &map, 24, Metric::Dot)?;
    let nearest = nearest_neighbors(&on(device, &[64 * 48, 24], &other), &database).map_err(text)?;
    check_scores(Metric::Dot, &nearest.read().map_err(text)?, &other, &map, 24)
}

/// The definition: the first row with the largest f32 score, one multiply-add at a time.
fn by_definition(metric: Metric, queries: &[f32], rows: &[f32], depth: usize) -> Vec<u32> {
    let nearest = |query: &[f32]| {
        let mut best = (f32::NEG_INFINITY, 0);
        for (j, row) in rows.chunks_exact(depth).enumerate() {
            let score = query.iter().zip(row).fold(0f32, |sum, (q, k)| match metric {
                Metric::Dot => q.mul_add(*k, sum),
                Metric::Euclidean => (k - q).mul_add(q - k, sum),
            });
            if score > best.0 {
                best = (score, j as u32);
            }
        }
        best.1
    };
    queries.chunks_exact(depth).map(nearest).collect()
}

/// Every instruction set of this CPU and every search against the definition, with exact equality.
fn check_forms(what: &str, queries: &[f32], rows: &[f32], depth: usize) -> Verdict {
    for metric in METRICS {
        let want = by_definition(metric, queries, rows, depth);
        for &isa in Isa::available() {
            let prepared = with_isa(isa, || cpu::Prepared::new(rows, depth, metric));
            for search in [Search::Exact, Search::Filtered, Search::Auto] {
                let (got, _) = cpu::search(queries, rows, &prepared, search);
                check_equal(&got, &want)
                    .map_err(|error| format!("{what}, {metric:?}, {isa:?}, {search:?}: {error}"))?;
            }
        }
    }
    Ok(())
}

fn all_forms_agree() -> Verdict {
    for (queries, rows, depth) in
        [(1, 1, 24), (5, 13, 24), (33, 85, 24), (70, 997, 24), (29, 500, 9), (40, 301, 32)]
    {
        let q = inputs::normal("nn/forms/q", queries * depth);
        let k = inputs::normal("nn/forms/k", rows * depth);
        check_forms(&format!("{queries} x {rows} x {depth}"), &q, &k, depth)?;
    }
    // Neighbouring rows that differ by little more than the rounding to 8 bits.
    let (map, other) = (smooth_descriptors(48, 31, 0.0), smooth_descriptors(48, 31, 1.3));
    check_forms("smooth", &other[..24 * 300], &map, 24)?;
    // Rows that differ in the last bits only, so that any other order of summation would show.
    let row = inputs::normal("nn/forms/near", 24);
    let wobble = inputs::uniform("nn/forms/wobble", 24 * 700);
    let near: Vec<_> = wobble.iter().zip(row.iter().cycle()).map(|(w, v)| v * (1.0 + 2e-7 * w)).collect();
    check_forms("nearly equal rows", &inputs::normal("nn/forms/nearq", 24 * 50), &near, 24)
}

/// Small integers, many rows alike: sums are exact, so the oracle must be met exactly too.
fn ties() -> Verdict {
    for depth in [3, 9, 24] {
        let mut rows = integers("nn/ties/k", 400 * depth);
        rows.extend_from_within(..);
        rows.extend_from_within(100 * depth..250 * depth);
        let queries = integers("nn/ties/q", 90 * depth);
        for metric in METRICS {
            let want = reference::nearest_neighbors(metric, &queries, &rows, depth);
            check_equal(&by_definition(metric, &queries, &rows, depth), &want)?;
        }
        check_forms(&format!("ties, depth {depth}"), &queries, &rows, depth)?;
    }
    check_forms("all rows alike", &[1.0; 24 * 5], &[0.5; 24 * 333], 24)?;
    check_forms("all zero", &[0.0; 24 * 5], &[0.0; 24 * 333], 24)
}

fn integers(name: &str, len: usize) -> Vec<f32> {
    inputs::uniform(name, len).into_iter().map(|v| (v * 2.49).round()).collect()
}

/// As [`ties`], through the op: small integers, many rows alike, in shallow and in deep rows.
fn exact_sums(device: &Device) -> Verdict {
    for depth in [1, 3, 4, 9, 24, 32, 33, 67, 100] {
        let mut rows = integers("nn/exact/k", 300 * depth);
        rows.extend_from_within(..);
        rows.extend_from_within(100 * depth..250 * depth);
        let queries = integers("nn/exact/q", 90 * depth);
        for metric in METRICS {
            let want = reference::nearest_neighbors(metric, &queries, &rows, depth);
            let database = database(device, &rows, depth, metric)?;
            let got = nearest_neighbors(&on(device, &[90, depth], &queries), &database).map_err(text)?;
            check_equal(&got.read().map_err(text)?, &want).map_err(|e| format!("{metric:?} {depth}: {e}"))?;
        }
    }
    Ok(())
}

/// Rows of any values, each there three times far apart: whatever the rounding, equal rows score alike.
fn of_equal_rows_the_first(device: &Device) -> Verdict {
    for (count, depth) in [(611, 24), (150, 3), (70, 40)] {
        let rows = inputs::normal("nn/equal/k", count * depth);
        let queries = inputs::normal("nn/equal/q", 300 * depth);
        let thrice = rows.repeat(3);
        for metric in METRICS {
            let database = database(device, &thrice, depth, metric)?;
            let got = nearest_neighbors(&on(device, &[300, depth], &queries), &database).map_err(text)?;
            let got: Vec<u32> = got.read().map_err(text)?;
            if let Some(query) = got.iter().position(|g| *g as usize >= count) {
                return Err(format!("{metric:?} {depth}: query {query} got the later row {}", got[query]));
            }
            check_scores(metric, &got, &queries, &rows, depth)?;
        }
    }
    Ok(())
}

fn rows_of_nan_are_not_found(device: &Device) -> Verdict {
    for depth in [24, 50, 100] {
        let queries = inputs::normal("nn/nan/q", 40 * depth);
        let rows = inputs::normal("nn/nan/k", 200 * depth);
        let found = |rows: &[f32], queries: &[f32]| -> Result<Vec<u32>, String> {
            let database = database(device, rows, depth, Metric::Dot)?;
            let nearest = nearest_neighbors(&on(device, &[40, depth], queries), &database).map_err(text)?;
            nearest.read().map_err(text)
        };
        let mut spoiled = rows.clone();
        let winners = found(&rows, &queries)?;
        let losers: Vec<usize> = winners[..10].iter().map(|w| *w as usize).chain([0, 199]).collect();
        for row in &losers {
            spoiled[row * depth + row % depth] = f32::NAN;
        }
        // Nor do they hide the row before them.
        let mut beside = rows.clone();
        for row in
            winners.iter().map(|w| *w as usize + 1).filter(|r| *r < 200 && !winners.contains(&(*r as u32)))
        {
            beside[row * depth] = f32::NAN;
        }
        check_equal(&found(&beside, &queries)?, &winners)?;
        let got = found(&spoiled, &queries)?;
        if let Some(query) = got.iter().position(|g| losers.contains(&(*g as usize))) {
            return Err(format!("query {query} got row {} of NaN", got[query]));
        }
        let mut asked = queries.clone();
        asked[7 * depth + 3] = f32::NAN;
        let mut want = winners;
        want[7] = 0;
        check_equal(&found(&rows, &asked)?, &want)?;
        check_equal(&found(&vec![f32::NAN; 30 * depth], &queries)?, &[0; 40])?;
    }
    Ok(())
}

fn infinite_scores_are_found(device: &Device) -> Verdict {
    for depth in [3, 24, 50, 100] {
        let queries: Vec<f32> = inputs::normal("nn/infinite/q", 40 * depth).iter().map(|v| v.abs()).collect();
        let mut rows = inputs::normal("nn/infinite/k", 200 * depth);
        rows[77 * depth] = f32::INFINITY;
        let database = database(device, &rows, depth, Metric::Dot)?;
        let got = nearest_neighbors(&on(device, &[40, depth], &queries), &database).map_err(text)?;
        check_equal(&got.read::<u32>().map_err(text)?, &[77; 40]).map_err(|e| format!("{depth}: {e}"))?;
    }
    Ok(())
}

/// Workgroups, tiles and ranges of other sizes; the sums are exact.
fn any_plan_gives_the_same(device: &Device) -> Verdict {
    let gpu = device.gpu().expect("a GPU case");
    let count = 333;
    for (depth, rows) in [(24, 2500), (3, 700), (40, 1100)] {
        let rows = integers("nn/plan/k", rows * depth);
        let queries = integers("nn/plan/q", count * depth);
        let want = reference::nearest_neighbors(Metric::Dot, &queries, &rows, depth);
        let database = database(device, &rows, depth, Metric::Dot)?;
        let queries = on(device, &[count, depth], &queries);
        let plan = |[threads, queries, tile, step]: [u32; 4], workgroups| {
            // Deep rows have one query for each invocation.
            let queries = if depth > 32 { 1 } else { queries };
            gpu::Plan { threads, queries, tile, step, workgroups }
        };
        for plan in [
            plan([128, 1, 64, 1], 1),
            plan([128, 4, 32, 2], 1024),
            plan([64, 3, 16, 4], 9),
            plan([32, 8, 7, 7], 40),
            plan([96, 2, 1, 1], 100),
        ] {
            let got = gpu::search_by(gpu, &queries, None, &database, plan).map_err(text)?;
            check_equal(&got.read().map_err(text)?, &want).map_err(|e| format!("{plan:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Bindings that hold a few rows, which begin anywhere; the sums are exact.
fn rows_in_many_bindings(device: &Device) -> Verdict {
    for (depth, rows, count) in [(24, 250, 133), (3, 700, 90), (40, 110, 70)] {
        let rows = integers("nn/plan/k", rows * depth);
        let queries = integers("nn/plan/q", count * depth);
        for metric in [Metric::Dot, Metric::Euclidean] {
            let want = reference::nearest_neighbors(metric, &queries, &rows, depth);
            let database = database(device, &rows, depth, metric)?;
            let got = nearest_neighbors(&on(device, &[count, depth], &queries), &database).map_err(text)?;
            check_equal(&got.read().map_err(text)?, &want).map_err(|e| format!("{metric:?} {depth}: {e}"))?;
        }
    }
    Ok(())
}

/// Some pixels of a list, in any order; what the count leaves out may hold anything. Rows are there three times, so that
/// ranges tie, and the longest list has more than nine workgroups.
fn only_what_is_asked(device: &Device) -> Verdict {
    for (depth, count) in [(24, 0), (24, 1), (24, 130), (24, 1300), (40, 77), (7, 400), (50, 700)] {
        let source = integers("nn/asked/q", 100 * depth);
        let rows = integers("nn/asked/k", 450 * depth).repeat(3);
        let mut pixels: Vec<u32> = (0..1300).map(|i| i * 37 % 100).collect();
        let asked_for = pixels[..count].to_vec();
        pixels[count..].fill(u32::MAX);
        let list = |data: Vec<u32>| Tensor::new(device, &[data.len()], data).expect("a list");
        let asked = Asked { pixels: list(pixels), count: list(vec![count as u32]) };
        for metric in METRICS {
            let of_all = reference::nearest_neighbors(metric, &source, &rows, depth);
            let want: Vec<u32> = asked_for.iter().map(|p| of_all[*p as usize]).collect();
            let database = database(device, &rows, depth, metric)?;
            let got =
                nearest_neighbors_of(&on(device, &[100, depth], &source), &asked, &database).map_err(text)?;
            check_equal(got.shape(), &[1300])?;
            check_equal(&got.read::<u32>().map_err(text)?[..count], &want)
                .map_err(|e| format!("{metric:?} {count} of {depth}: {e}"))?;
        }
    }
    Ok(())
}

/// One to seven threads cut the work differently; rows are enough for several ranges.
fn any_split_gives_the_same() -> Verdict {
    let depth = 3;
    let rows: Vec<f32> =
        inputs::uniform("nn/split/k", 40_001 * depth).iter().map(|v| (v * 9.0).round()).collect();
    let queries: Vec<f32> =
        inputs::uniform("nn/split/q", 21 * depth).iter().map(|v| (v * 9.0).round()).collect();
    for metric in METRICS {
        let want = reference::nearest_neighbors(metric, &queries, &rows, depth);
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(text)?;
            for &isa in Isa::available() {
                let prepared = with_isa(isa, || cpu::Prepared::new(&rows, depth, metric));
                for search in [Search::Exact, Search::Filtered] {
                    let (got, _) = pool.install(|| cpu::search(&queries, &rows, &prepared, search));
                    check_equal(&got, &want).map_err(|e| format!("{threads} threads, {isa:?}: {e}"))?;
                }
            }
        }
    }
    Ok(())
}

fn a_row_finds_itself(device: &Device) -> Verdict {
    let (count, depth) = (500, 16);
    let mut rows = inputs::normal("nn/self", count * depth);
    for row in rows.chunks_exact_mut(depth) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    }
    let want: Vec<_> = (0..count as u32).collect();
    for metric in METRICS {
        let database = database(device, &rows, depth, metric)?;
        let nearest = nearest_neighbors(&on(device, &[count, depth], &rows), &database).map_err(text)?;
        check_equal(&nearest.read::<u32>().map_err(text)?, &want)?;
    }
    Ok(())
}

fn nan_never_wins() -> Verdict {
    let depth = 24;
    let (queries, rows) = (inputs::normal("nn/nan/q", 40 * depth), inputs::normal("nn/nan/k", 200 * depth));
    // Rows spoiled, among them the first, the last and every winner of the first queries.
    let mut spoiled = rows.clone();
    let winners = by_definition(Metric::Dot, &queries[..10 * depth], &rows, depth);
    for row in winners.iter().map(|w| *w as usize).chain([0, 199]) {
        spoiled[row * depth + row % depth] = f32::NAN;
    }
    check_forms("NaN rows", &queries, &spoiled, depth)?;
    check_forms("only NaN rows", &queries, &vec![f32::NAN; 30 * depth], depth)?;
    // A query with a NaN gets 0; its neighbours in the panel are not disturbed.
    let mut asked = queries.clone();
    asked[7 * depth + 3] = f32::NAN;
    asked[8 * depth..9 * depth].fill(f32::NAN);
    let want = by_definition(Metric::Dot, &asked, &rows, depth);
    if (want[7], want[8]) != (0, 0) {
        return Err("a query of NaN must get index 0".to_owned());
    }
    check_forms("NaN queries", &asked, &rows, depth)
}

fn extreme_values() -> Verdict {
    let depth = 24;
    let (queries, rows) = (inputs::normal("nn/big/q", 20 * depth), inputs::normal("nn/big/k", 150 * depth));
    let times = |x: &[f32], factor: f32| x.iter().map(|v| v * factor).collect::<Vec<_>>();
    for (of_queries, of_rows) in [
        (1e19, 1e19),
        (1e30, 1e30),
        (1e-30, 1e-10),
        (1e-22, 1e-22),
        (1e-40, 1.0),
        (1.0, 1e-42),
        (1e25, 1e-25),
    ] {
        let what = format!("queries times {of_queries:e}, rows times {of_rows:e}");
        check_forms(&what, &times(&queries, of_queries), &times(&rows, of_rows), depth)?;
    }
    let mut infinite = rows.clone();
    infinite[77 * depth + 5] = f32::INFINITY;
    infinite[99 * depth + 6] = f32::NEG_INFINITY;
    check_forms("infinite rows", &queries, &infinite, depth)?;
    let mut infinite = queries.clone();
    infinite[3 * depth + 5] = f32::INFINITY;
    check_forms("infinite query", &infinite, &rows, depth)?;
    // One value of a row far larger than all others leaves no bits for them: all rows must be looked at.
    let mut lopsided = rows.clone();
    lopsided[50 * depth] = 3e4;
    check_forms("lopsided", &queries, &lopsided, depth)
}

/// Rows that win although their rounded scores say nothing of it.
fn nothing_is_skipped_at_the_edge() -> Verdict {
    let depth = 24;
    // The query's small values round to zero, and with them every score; rows of whole numbers up to the largest of 8 or of
    // 7 bits have no rounding error that could make up for it.
    let mut query = vec![0.49; depth];
    query[0] = 127.0;
    for largest in [127.0, 63.0] {
        let mut rows = vec![0.0; 200 * depth];
        rows[1] = 10.0;
        rows[150 * depth + 1..151 * depth].fill(largest);
        check_forms("a query that rounds to nothing", &query, &rows, depth)?;
    }
    // A sum that overflows on its way is infinite, though the exact one is zero.
    let mut query = vec![0.0; depth];
    query[..4].fill(1e19);
    let mut rows = vec![0.0; 200 * depth];
    rows[0] = 1e18;
    rows[150 * depth..][..4].copy_from_slice(&[3e19, 3e19, -3e19, -3e19]);
    check_forms("a sum that overflows on its way", &query, &rows, depth)
}

/// The filter must pass few blocks where it can, and the automatic search must stop using it where it cannot.
fn the_filter_skips_and_gives_up() -> Verdict {
    let device = Device::cpu();
    let queries = on(&device, &[100, 24], &inputs::normal("nn/skip/q", 100 * 24));
    let spread = database(&device, &inputs::normal("nn/skip/k", 20_000 * 24), 24, Metric::Dot)?;
    let answer = nearest_neighbors_by(&queries, &spread, Search::Filtered).map_err(text)?;
    match answer.rechecked_share {
        None => return Err("the filter was not used".to_owned()),
        Some(share) if share > 0.05 => return Err(format!("{share} of all blocks passed")),
        Some(_) => {}
    }
    if nearest_neighbors_by(&queries, &spread, Search::Exact).map_err(text)?.rechecked_share.is_some() {
        return Err("the exact search used the filter".to_owned());
    }
    let alike = database(&device, &[0.25; 20_000 * 24], 24, Metric::Dot)?;
    let all = nearest_neighbors_by(&queries, &alike, Search::Filtered).map_err(text)?;
    let some = nearest_neighbors_by(&queries, &alike, Search::Auto).map_err(text)?;
    if all.filter_gave_up || !some.filter_gave_up {
        return Err(
            "rows that are all alike must make the automatic search, and only that, give up".to_owned()
        );
    }
    Ok(())
}
