use super::test_scene::{DEPTH, View, two_views};
use super::*;
use steropes_tensor::Device;
use steropes_testkit::inputs;

fn tensor(shape: &[usize], data: Vec<f32>) -> Tensor {
    Tensor::new(&Device::cpu(), shape, data).unwrap()
}

fn random_map(name: &str, width: usize, height: usize, depth: usize) -> Tensor {
    tensor(&[height, width, depth], inputs::normal(name, width * height * depth))
}

/// The descriptor of a pixel of a map on the CPU.
fn descriptor(map: &DescriptorMap, pixel: u32) -> &[f32] {
    &map.rows.cpu_slice().unwrap()[pixel as usize * map.depth()..][..map.depth()]
}

/// The first row with the largest dot product, by the plainest loop.
fn naive_nearest(query: &[f32], map: &DescriptorMap) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for j in 0..map.pixels() as u32 {
        let s = query.iter().zip(descriptor(map, j)).fold(0f32, |s, (a, b)| a.mul_add(*b, s));
        if s > best.0 {
            best = (s, j);
        }
    }
    best.1
}

/// The search written per seed: walk until the pair repeats itself, at most so many rounds.
fn naive_search(map_1: &DescriptorMap, map_2: &DescriptorMap, seeds: &[u32], rounds: usize) -> Vec<[u32; 2]> {
    let mut pairs = Vec::new();
    for seed in seeds {
        let (mut p, mut q_before) = (*seed, None);
        for _ in 0..rounds {
            let q = naive_nearest(descriptor(map_1, p), map_2);
            let back = naive_nearest(descriptor(map_2, q), map_1);
            if Some(q) == q_before || back == p {
                pairs.push([p, q]);
                break;
            }
            (p, q_before) = (back, Some(q));
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn pairs(found: &ReciprocalMatches) -> Vec<[u32; 2]> {
    found.pixels_1.iter().zip(&found.pixels_2).map(|(p, q)| [*p, *q]).collect()
}

#[test]
fn fast_search_equals_a_plain_loop_and_finds_mutual_pairs() {
    for (salt, width, height, noise) in [("a", 96, 64, 0.0), ("b", 61, 45, 0.05)] {
        let [view_1, view_2] = two_views(salt, width, height, noise);
        let (map_1, map_2) = (view_1.map(), view_2.map());
        let found = fast_reciprocal_nns(&map_1, &map_2, &ReciprocalOptions::grid(8)).unwrap();
        let seeds: Vec<u32> = (4..height as u32)
            .step_by(8)
            .flat_map(|y| (4..width as u32).step_by(8).map(move |x| x + y * width as u32))
            .collect();
        assert_eq!(found.tracks.seeds, seeds);
        let got = pairs(&found);
        assert_eq!(got, naive_search(&map_1, &map_2, &seeds, 10));
        assert!(got.len() * 10 > seeds.len() * 7, "{} matches of {} seeds", got.len(), seeds.len());
        let mutual = mutual_nns(&map_1, &map_2).unwrap();
        assert!(got.iter().all(|pair| mutual.binary_search(pair).is_ok()));
        assert!(got.is_sorted());
    }
}

#[test]
fn brute_force_both_ways_gives_the_mutual_pairs() {
    let (a, b) = (random_map("bf/a", 7, 5, 9), random_map("bf/b", 6, 11, 9));
    let (map_1, map_2) =
        (DescriptorMap::new(&a, Metric::Dot).unwrap(), DescriptorMap::new(&b, Metric::Dot).unwrap());
    let rows = |t: &Tensor, n: usize| t.clone().reshape(&[n, 9]).unwrap();
    let both = bruteforce_reciprocal_nns(&rows(&a, 35), &rows(&b, 66), Metric::Dot).unwrap();
    let want: Vec<u32> = (0..35).map(|i| naive_nearest(descriptor(&map_1, i), &map_2)).collect();
    assert_eq!(both.nearest_in_2, want);
    let want: Vec<u32> = (0..66).map(|i| naive_nearest(descriptor(&map_2, i), &map_1)).collect();
    assert_eq!(both.nearest_in_1, want);
    let mutual = both.mutual();
    assert!(!mutual.is_empty() && mutual.len() < 35);
    assert_eq!(mutual, mutual_nns(&map_1, &map_2).unwrap());
    for [i, j] in mutual {
        assert_eq!((both.nearest_in_2[i as usize], both.nearest_in_1[j as usize]), (j, i));
    }
}

/// Points on a line, alternately in one map and in the other, ever nearer to the next: a track needs a round per point.
fn chain(length: usize) -> (Tensor, Tensor) {
    let gap = |k: usize| 2.0 - 0.02 * k as f32;
    let places: Vec<f32> =
        (0..2 * length).scan(0.0, |at, k| Some(std::mem::replace(at, *at + gap(k)))).collect();
    let of = |parity: usize| -> Vec<f32> {
        places.iter().skip(parity).step_by(2).flat_map(|x| [*x, 0.0]).collect()
    };
    (tensor(&[1, length, 2], of(0)), tensor(&[1, length, 2], of(1)))
}

#[test]
fn tracks_that_still_move_after_ten_rounds_are_dropped() {
    for (length, matches) in [(10, 1), (11, 0)] {
        let (a, b) = chain(length);
        let map = |t| DescriptorMap::new(t, Metric::Euclidean).unwrap();
        let (map_1, map_2) = (map(&a), map(&b));
        // One seed: x = step / 2 = 0 is reached with step 1 only, so seeds are on every pixel; look at the first.
        let found = fast_reciprocal_nns(&map_1, &map_2, &ReciprocalOptions::grid(1)).unwrap();
        assert_eq!(usize::from(found.converged[0]), matches, "chain of {length}");
        assert!(found.converged[1..].iter().all(|c| *c));
        assert_eq!(pairs(&found), [[length as u32 - 1, length as u32 - 1]]);
    }
}

#[test]
fn explicit_seeds_with_a_tolerance_return_the_seeds() {
    let [view_1, view_2] = two_views("tol", 96, 64, 0.05);
    let (map_1, map_2) = (view_1.map(), view_2.map());
    // Not sorted, one twice.
    let mut seeds: Vec<[u32; 2]> =
        (0..64).step_by(5).flat_map(|y| (0..96).step_by(7).map(move |x| [x, y])).collect();
    seeds.reverse();
    seeds.push(seeds[3]);
    let options = ReciprocalOptions { seeds: Seeds::Pixels(seeds.clone()), pixel_tol: 5.0, basin: false };
    let found = fast_reciprocal_nns(&map_1, &map_2, &options).unwrap();
    let mut want = Vec::new();
    for [x, y] in &seeds {
        let p = map_1.pixel([*x, *y]);
        let q = naive_nearest(descriptor(&map_1, p), &map_2);
        let [bx, by] = map_1.xy(naive_nearest(descriptor(&map_2, q), &map_1));
        let square = x.abs_diff(bx).pow(2) + y.abs_diff(by).pow(2);
        // Strictly less: a distance of exactly 5 (3 and 4 pixels) does not count.
        if square < 25 {
            want.push([p, q]);
        }
    }
    want.sort_unstable();
    want.dedup();
    assert_eq!(pairs(&found), want);
    assert!(want.len() > 50 && want.len() < seeds.len() - 5);

    let exact = ReciprocalOptions { pixel_tol: 0.0, ..options };
    let found = fast_reciprocal_nns(&map_1, &map_2, &exact).unwrap();
    let mut numbers: Vec<u32> = seeds.iter().map(|s| map_1.pixel(*s)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(pairs(&found), naive_search(&map_1, &map_2, &numbers, 1));
}

#[test]
fn the_tolerance_is_strict() {
    // The only pixel of map 2 leads every seed to pixel (3, 4).
    let mut values = vec![0.1f32; 8 * 8];
    values[3 + 8 * 4] = 1.0;
    let map_1 = DescriptorMap::new(&tensor(&[8, 8, 1], values), Metric::Dot).unwrap();
    let map_2 = DescriptorMap::new(&tensor(&[1, 1, 1], vec![1.0]), Metric::Dot).unwrap();
    let matched = |seed, pixel_tol| {
        let options = ReciprocalOptions { seeds: Seeds::Pixels(vec![seed]), pixel_tol, basin: false };
        !fast_reciprocal_nns(&map_1, &map_2, &options).unwrap().pixels_1.is_empty()
    };
    assert!(!matched([0, 0], 5.0) && matched([0, 0], 5.01));
    assert!(matched([1, 0], 5.0) && matched([3, 4], 0.5));
}

#[test]
fn the_basin_notes_where_each_step_led() {
    let [view_1, view_2] = two_views("basin", 61, 45, 0.05);
    let (map_1, map_2) = (view_1.map(), view_2.map());
    let plain = fast_reciprocal_nns(&map_1, &map_2, &ReciprocalOptions::grid(8)).unwrap();
    let options = ReciprocalOptions { basin: true, ..ReciprocalOptions::grid(8) };
    let found = fast_reciprocal_nns(&map_1, &map_2, &options).unwrap();
    assert_eq!(pairs(&found), pairs(&plain));
    assert!(plain.basin.is_empty() && found.basin.len() == 61 * 45);
    for (p, to) in found.basin.iter().enumerate() {
        if let Some(to) = to {
            let q = naive_nearest(descriptor(&map_1, p as u32), &map_2);
            assert_eq!(*to, naive_nearest(descriptor(&map_2, q), &map_1));
        }
    }
    for (seed, end) in found.tracks.seeds.iter().zip(&found.tracks.pixels_1) {
        let mut at = *seed;
        for _ in 0..10 {
            at = found.basin[at as usize].unwrap_or(at);
        }
        assert_eq!(at, *end);
    }
}

/// Errors in pixels of the matches whose pixel of photo 1 is visible in photo 2.
fn errors(view_1: &View, view_2: &View, matches: &[([u32; 2], [f32; 2])]) -> Vec<f64> {
    let mut errors: Vec<f64> = matches
        .iter()
        .filter_map(|([x, y], xy2)| {
            let truth = view_2.visible(&view_1.points_in_world[*x as usize + view_1.width * *y as usize])?;
            Some((truth[0] - f64::from(xy2[0])).hypot(truth[1] - f64::from(xy2[1])))
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors
}

#[test]
fn most_seeds_match_and_land_where_they_should() {
    for (noise, bound_px) in [(0.0, 0.5), (0.02, 0.9), (0.1, 4.0)] {
        let [view_1, view_2] = two_views("quality", 256, 192, noise);
        let (map_1, map_2) = (view_1.map(), view_2.map());
        let found = fast_reciprocal_nns(&map_1, &map_2, &ReciprocalOptions::grid(8)).unwrap();
        let share = found.converged.iter().filter(|c| **c).count() as f64 / found.converged.len() as f64;
        assert!(share >= 0.85, "noise {noise}: {share} of the seeds");
        let matches: Vec<_> =
            pairs(&found).into_iter().map(|[p, q]| (map_1.xy(p), map_2.xy(q).map(|v| v as f32))).collect();
        let errors = errors(&view_1, &view_2, &matches);
        let median = errors[errors.len() / 2];
        assert!(median <= bound_px, "noise {noise}: median error {median} px");
    }
}

#[test]
fn subpixel_positions_are_nearer_to_the_truth() {
    for (noise, gain) in [(0.0, 0.35), (0.01, 0.8)] {
        let [view_1, view_2] = two_views("subpixel", 256, 192, noise);
        let (map_1, map_2) = (view_1.map(), view_2.map());
        let found = fast_reciprocal_nns(&map_1, &map_2, &ReciprocalOptions::grid(8)).unwrap();
        let matches = Matches {
            xy1: found.pixels_1.iter().map(|p| map_1.xy(*p)).collect(),
            xy2: found.pixels_2.iter().map(|p| map_2.xy(*p)).collect(),
            confidence: vec![1.0; found.pixels_1.len()],
        };
        let fine = refine_subpixel(&matches, &map_1, &map_2).unwrap();
        let zip = |xy2: Vec<[f32; 2]>| matches.xy1.iter().copied().zip(xy2).collect::<Vec<_>>();
        let whole = matches.xy2.iter().map(|p| p.map(|v| v as f32)).collect();
        let before = errors(&view_1, &view_2, &zip(whole));
        let after = errors(&view_1, &view_2, &zip(fine.xy2.clone()));
        let median = |e: &[f64]| e[e.len() / 2];
        assert!(median(&after) < gain * median(&before), "{} -> {}", median(&before), median(&after));
        for ((xy2, pixel), refined) in fine.xy2.iter().zip(&matches.xy2).zip(&fine.refined) {
            let moved = [0, 1].map(|c| (xy2[c] - pixel[c] as f32).abs());
            assert!(moved.iter().all(|m| *m <= 0.5) && (*refined || moved == [0.0, 0.0]));
        }
    }
}

/// Distance of a point of photo 2 from the epipolar line of its match in photo 1, in pixels.
fn epipolar_distance([view_1, view_2]: &[View; 2], a: [f32; 2], b: [f32; 2]) -> f64 {
    let ends = [0.5, 50.0].map(|depth| {
        let (pixel, _) = view_2.camera.project(&view_1.camera.unproject(a.map(f64::from), depth));
        pixel
    });
    let along = (ends[1] - ends[0]).normalize();
    let offset = nalgebra::Vector2::new(f64::from(b[0]), f64::from(b[1])) - ends[0];
    (along.x * offset.y - along.y * offset.x).abs()
}

#[test]
fn fine_matches_are_the_same_matches_nearer_to_their_epipolar_lines() {
    let views = two_views("fine", 256, 192, 0.0);
    let ones = tensor(&[192, 256], vec![1.0; 192 * 256]);
    let frame = FrameMaps {
        descriptors_1: &views[0].descriptors,
        confidence_1: &ones,
        descriptors_2: &views[1].descriptors,
        confidence_2: &ones,
    };
    let (matches, fine) = extract_fine_correspondences(&[frame], 8).unwrap();
    assert_eq!(matches, extract_correspondences(&[frame], 8).unwrap());
    let median = |a: &[[f32; 2]], b: &[[f32; 2]]| {
        let mut d: Vec<f64> = a.iter().zip(b).map(|(a, b)| epipolar_distance(&views, *a, *b)).collect();
        d.sort_by(f64::total_cmp);
        d[d.len() / 2]
    };
    let whole = |xy: &[[u32; 2]]| xy.iter().map(|p| p.map(|v| v as f32)).collect::<Vec<_>>();
    let before = median(&whole(&matches.xy1), &whole(&matches.xy2));
    let after = median(&fine[0], &fine[1]);
    assert!(after < 0.5 * before, "{before} -> {after}");
    let moved = fine[0]
        .iter()
        .zip(&matches.xy1)
        .map(|(f, w)| (f[0] - w[0] as f32).abs().max((f[1] - w[1] as f32).abs()));
    assert!(moved.fold(0.0, f32::max) <= 0.25, "either end moves by half of at most half a pixel");
}

#[test]
fn subpixel_meets_a_quadratic_exactly_and_refuses_the_rest() {
    // Descriptors whose products with (1, 0) are a quadratic with its maximum at (3.3, 1.8), then a saddle.
    let map = |h_yy: f32| {
        let values = (0..5 * 7).flat_map(|i| {
            let (x, y) = ((i % 7) as f32 - 3.3, (i / 7) as f32 - 1.8);
            [1.0 - 0.2 * x * x + h_yy * y * y + 0.05 * x * y, 0.0]
        });
        DescriptorMap::new(&tensor(&[5, 7, 2], values.collect()), Metric::Dot).unwrap()
    };
    let query = DescriptorMap::new(&tensor(&[1, 1, 2], vec![1.0, 0.0]), Metric::Dot).unwrap();
    let at = |xy2| Matches { xy1: vec![[0, 0]], xy2: vec![xy2], confidence: vec![1.0] };
    let fine = refine_subpixel(&at([3, 2]), &query, &map(-0.3)).unwrap();
    assert!((fine.xy2[0][0] - 3.3).abs() < 1e-5 && (fine.xy2[0][1] - 1.8).abs() < 1e-5, "{fine:?}");
    // Too far from the maximum: half a pixel is the limit.
    let fine = refine_subpixel(&at([2, 2]), &query, &map(-0.3)).unwrap();
    assert!(fine.xy2[0][0] == 2.5 && (fine.xy2[0][1] - 1.8).abs() < 0.1, "{fine:?}");
    let saddle = refine_subpixel(&at([3, 2]), &query, &map(0.3)).unwrap();
    assert_eq!((saddle.xy2[0], saddle.refined[0]), ([3.0, 2.0], false));
    let border = refine_subpixel(&at([3, 4]), &query, &map(-0.3)).unwrap();
    assert_eq!((border.xy2[0], border.refined[0]), ([3.0, 4.0], false));
    let outside = refine_subpixel(&at([7, 2]), &query, &map(-0.3)).unwrap_err().to_string();
    assert!(outside.contains("`matches` must be inside of 7 x 5 pixels, got (7, 2)"), "{outside}");
}

#[test]
fn merging_keeps_the_first_of_equal_pairs() {
    let merged = merge_correspondences(&[5, 2, 5, 2, 5, 0], &[1, 9, 1, 3, 0, 7]);
    assert_eq!(merged.pixels_1, [0, 2, 2, 5, 5]);
    assert_eq!(merged.pixels_2, [7, 3, 9, 0, 1]);
    assert_eq!(merged.first, [5, 3, 1, 4, 0]);
    assert_eq!(merge_correspondences(&[], &[]), MergedPixels::default());
}

/// Descriptors that make pixel `i` of map 1 and pixel `pairs[i]` of map 2 nearest to each other.
fn paired(pairs: &[usize]) -> (Tensor, Tensor) {
    let n = pairs.len();
    let one_hot = |hot: usize| (0..n).map(move |c| f32::from(u8::from(c == hot)));
    let map_1 = (0..n).flat_map(one_hot).collect();
    let map_2 = (0..n).flat_map(|j| one_hot(pairs.iter().position(|p| *p == j).unwrap())).collect();
    (tensor(&[1, n, n], map_1), tensor(&[1, n, n], map_2))
}

#[test]
fn confidences_are_of_the_first_occurrence() {
    // Both frames agree on 0-1 and 2-2; the others differ.
    let (a1, a2) = paired(&[1, 0, 2, 3]);
    let (b1, b2) = paired(&[1, 3, 2, 0]);
    let confidence = |c: f32| tensor(&[1, 4], vec![c, c + 1.0, c + 2.0, c + 3.0]);
    let (c1, c2, c3, c4) = (confidence(4.0), confidence(9.0), confidence(40.0), confidence(90.0));
    let first = FrameMaps { descriptors_1: &a1, confidence_1: &c1, descriptors_2: &a2, confidence_2: &c2 };
    let second = FrameMaps { descriptors_1: &b1, confidence_1: &c3, descriptors_2: &b2, confidence_2: &c4 };
    let found = extract_correspondences(&[first, second], 1).unwrap();
    let x = |xy: &[[u32; 2]]| xy.iter().map(|p| p[0]).collect::<Vec<_>>();
    assert_eq!((x(&found.xy1), x(&found.xy2)), (vec![0, 1, 1, 2, 3, 3], vec![1, 0, 3, 2, 0, 3]));
    let root = |a: f32, b: f32| (a * b).sqrt();
    assert_eq!(
        found.confidence,
        [
            root(4.0, 10.0),
            root(5.0, 9.0),
            root(41.0, 93.0),
            root(6.0, 11.0),
            root(43.0, 90.0),
            root(7.0, 12.0)
        ]
    );
    let least = extract_correspondences_nonsym(second, 1, 0.0).unwrap();
    assert_eq!((x(&least.xy1), x(&least.xy2)), (vec![0, 1, 2, 3], vec![1, 3, 2, 0]));
    assert_eq!(least.confidence, [40.0, 41.0, 42.0, 43.0]);
    assert_eq!(extract_correspondences_nonsym(second, 1, 2.0).unwrap(), least);
    assert_eq!((found.len(), found.is_empty()), (6, false));
}

#[test]
fn both_photos_send_seeds() {
    // With seeds every 8 pixels photo 1 alone finds at most as many matches as it has seeds.
    let [view_1, view_2] = two_views("both", 96, 64, 0.0);
    let confidence = tensor(&[64, 96], vec![1.0; 64 * 96]);
    let frame = FrameMaps {
        descriptors_1: &view_1.descriptors,
        confidence_1: &confidence,
        descriptors_2: &view_2.descriptors,
        confidence_2: &confidence,
    };
    let found = extract_correspondences(&[frame], 8).unwrap();
    let (map_1, map_2) = (view_1.map(), view_2.map());
    let options = ReciprocalOptions::grid(8);
    let mut want = pairs(&fast_reciprocal_nns(&map_1, &map_2, &options).unwrap());
    let one_way = want.len();
    want.extend(pairs(&fast_reciprocal_nns(&map_2, &map_1, &options).unwrap()).iter().map(|[q, p]| [*p, *q]));
    want.sort_unstable();
    want.dedup();
    let got: Vec<_> =
        found.xy1.iter().zip(&found.xy2).map(|(a, b)| [map_1.pixel(*a), map_2.pixel(*b)]).collect();
    assert_eq!(got, want);
    assert!(got.len() > one_way);
}

#[test]
fn nan_descriptors_match_nothing() {
    let [view_1, view_2] = two_views("nan", 61, 45, 0.0);
    let mut values: Vec<f32> = view_1.descriptors.read().unwrap();
    values[..20 * 61 * DEPTH].fill(f32::NAN);
    let spoiled = DescriptorMap::new(&tensor(&[45, 61, DEPTH], values), Metric::Dot).unwrap();
    let map_2 = view_2.map();
    let whole = fast_reciprocal_nns(&view_1.map(), &map_2, &ReciprocalOptions::grid(4)).unwrap();
    for (a, b) in [(&spoiled, &map_2), (&map_2, &spoiled)] {
        let found = fast_reciprocal_nns(a, b, &ReciprocalOptions::grid(4)).unwrap();
        let in_spoiled = if std::ptr::eq(a, &spoiled) { &found.pixels_1 } else { &found.pixels_2 };
        assert!(in_spoiled.len() > whole.pixels_1.len() / 4);
        assert!(in_spoiled.iter().all(|p| *p >= 20 * 61), "a pixel without a descriptor matched");
    }
}

#[test]
fn bad_arguments_are_refused() {
    let map = |w, h, d| DescriptorMap::new(&random_map("bad", w, h, d), Metric::Dot).unwrap();
    let refused = |result: Result<ReciprocalMatches, OpError>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("matching::") && error.contains(part), "{error}");
    };
    let (a, b) = (map(5, 4, 3), map(4, 4, 3));
    let grid = ReciprocalOptions::grid(2);
    refused(fast_reciprocal_nns(&a, &map(4, 4, 2), &grid), "`map_2` must be of depth 3");
    refused(fast_reciprocal_nns(&a, &b, &ReciprocalOptions::grid(0)), "step 1 or more");
    let with = |seeds: Seeds, pixel_tol| ReciprocalOptions { seeds, pixel_tol, basin: false };
    refused(
        fast_reciprocal_nns(&a, &b, &with(Seeds::Grid(2), 1.0)),
        "`pixel_tol` must be 0 with seeds on a grid",
    );
    let far = Seeds::Pixels(vec![[1, 1], [5, 0]]);
    refused(fast_reciprocal_nns(&a, &b, &with(far, 0.0)), "inside of 5 x 4 pixels, got (5, 0)");
    for tolerance in [-1.0, f32::NAN, f32::INFINITY] {
        let seeds = Seeds::Pixels(vec![[1, 1]]);
        refused(fast_reciprocal_nns(&a, &b, &with(seeds, tolerance)), "at least 0 and finite");
    }
    for shape in [&[4, 3][..], &[2, 4, 4, 3], &[0, 4, 3], &[4, 4, 0]] {
        assert!(DescriptorMap::new(&Tensor::zeros::<f32>(&Device::cpu(), shape), Metric::Dot).is_err());
    }
    let bytes = Tensor::zeros::<u8>(&Device::cpu(), &[4, 4, 3]);
    let error = DescriptorMap::new(&bytes, Metric::Dot).unwrap_err().to_string();
    assert!(error.contains("must hold f32, got u8"), "{error}");
    // A seed list may be empty, and a grid may miss a small photo.
    assert!(fast_reciprocal_nns(&a, &b, &with(Seeds::Pixels(Vec::new()), 0.0)).unwrap().pixels_1.is_empty());
    assert!(fast_reciprocal_nns(&a, &b, &ReciprocalOptions::grid(20)).unwrap().pixels_1.is_empty());
}

#[test]
fn bad_maps_are_refused() {
    let (d1, d2) = (random_map("m/1", 5, 4, 3), random_map("m/2", 4, 4, 3));
    let (c1, c2) = (tensor(&[4, 5], vec![1.0; 20]), tensor(&[1, 4, 4], vec![1.0; 16]));
    let good = FrameMaps { descriptors_1: &d1, confidence_1: &c1, descriptors_2: &d2, confidence_2: &c2 };
    extract_correspondences(&[good], 2).unwrap();
    let refused = |frames: &[FrameMaps<'_>], subsample, part: &str| {
        let error = extract_correspondences(frames, subsample).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&[], 2, "`frames` must be at least one");
    refused(&[good], 0, "step 1 or more");
    refused(&[FrameMaps { confidence_1: &c2, ..good }], 2, "`confidence_1` must be [4, 5]");
    let integers = Tensor::zeros::<i32>(&Device::cpu(), &[4, 4]);
    refused(&[FrameMaps { confidence_2: &integers, ..good }], 2, "`confidence_2` must hold f32, got i32");
    refused(
        &[good, FrameMaps { descriptors_1: &d2, confidence_1: &c2, ..good }],
        2,
        "`descriptors_1` must be",
    );
    let error = extract_correspondences_nonsym(good, 2, f32::NAN).unwrap_err().to_string();
    assert!(error.contains("`pixel_tol`"), "{error}");
    let shallow = random_map("m/3", 4, 4, 2);
    refused(&[FrameMaps { descriptors_2: &shallow, ..good }], 2, "of depth 3");
}

/// The GPU that `STEROPES_DEVICE` names, else the first of this machine, which may be a program.
fn gpu() -> Option<Device> {
    let device = match std::env::var("STEROPES_DEVICE") {
        Ok(selector) => Device::select(&selector).unwrap(),
        Err(_) if Device::gpus().is_empty() => return None,
        Err(_) => Device::select("gpu:0").unwrap(),
    };
    let gpu = device.gpu()?;
    gpu.set_checked(true);
    Some(device)
}

/// The share of pairs that only one of two sorted lists has.
fn unlike(a: &[[u32; 2]], b: &[[u32; 2]]) -> f64 {
    let missing = |a: &[[u32; 2]], b: &[[u32; 2]]| a.iter().filter(|p| b.binary_search(p).is_err()).count();
    (missing(a, b) + missing(b, a)) as f64 / (a.len() + b.len()) as f64
}

#[test]
fn a_gpu_finds_the_same_matches() {
    let Some(gpu) = gpu() else { return };
    let views = two_views("gpu", 96, 64, 0.01);
    let confidence =
        |name: &str| -> Vec<f32> { inputs::uniform(name, 96 * 64).into_iter().map(|v| 1.5 + v).collect() };
    let confidences = ["gpu/c1", "gpu/c2"].map(|name| tensor(&[64, 96], confidence(name)));
    let extract = |device: &Device| {
        let [d1, d2] = [0, 1].map(|v| views[v].descriptors.to_device(device).unwrap());
        let [c1, c2] = [0, 1].map(|v| confidences[v].to_device(device).unwrap());
        let frame =
            FrameMaps { descriptors_1: &d1, confidence_1: &c1, descriptors_2: &d2, confidence_2: &c2 };
        let map = |t| DescriptorMap::new(t, Metric::Dot).unwrap();
        (
            extract_fine_correspondences(&[frame], 8).unwrap(),
            extract_correspondences_nonsym(frame, 8, 5.0).unwrap(),
            extract_point_correspondences(&[frame], 8).unwrap(),
            mutual_nns(&map(&d1), &map(&d2)).unwrap(),
        )
    };
    let before = gpu.gpu().unwrap().launches();
    let on_gpu = extract(&gpu);
    assert!(gpu.gpu().unwrap().launches() > before + 100, "the search did not run on the GPU");
    let on_cpu = extract(&Device::cpu());

    // Two scores that differ in their last bits only may change places; among six thousand pixels that is rare.
    let pairs = |m: &Matches| -> Vec<[u32; 2]> {
        m.xy1.iter().zip(&m.xy2).map(|(a, b)| [a[0] + 96 * a[1], b[0] + 96 * b[1]]).collect()
    };
    for (what, a, b) in [
        ("fine", &on_gpu.0.0, &on_cpu.0.0),
        ("tolerance", &on_gpu.1, &on_cpu.1),
        ("points", &on_gpu.2, &on_cpu.2),
    ] {
        assert!(!b.is_empty() && unlike(&pairs(a), &pairs(b)) <= 0.01, "{what}");
    }
    assert!(unlike(&on_gpu.3, &on_cpu.3) <= 0.01);

    // What is read at the matches is exact.
    let (all, theirs) = (pairs(&on_cpu.0.0), pairs(&on_gpu.0.0));
    for (m, pair) in theirs.iter().enumerate() {
        let Ok(at) = all.binary_search(pair) else { continue };
        assert_eq!(on_gpu.0.0.confidence[m], on_cpu.0.0.confidence[at]);
        for side in [0, 1] {
            assert_eq!(on_gpu.0.1[side][m], on_cpu.0.1[side][at]);
        }
    }
}

#[test]
fn a_gpu_walks_the_same_tracks() {
    let Some(gpu) = gpu() else { return };
    // Whole numbers: every score is exact, and many are alike.
    let whole = |name: &str, w: usize, h: usize| -> Tensor {
        let values = inputs::uniform(name, w * h * 5).into_iter().map(|v| (v * 3.4).round()).collect();
        tensor(&[h, w, 5], values)
    };
    let (a, b) = (whole("walk/a", 43, 31), whole("walk/b", 37, 29));
    for metric in [Metric::Dot, Metric::Euclidean] {
        let search = |device: &Device, basin: bool| {
            let map = |t: &Tensor| DescriptorMap::new(&t.to_device(device).unwrap(), metric).unwrap();
            let options = ReciprocalOptions { basin, ..ReciprocalOptions::grid(3) };
            fast_reciprocal_nns(&map(&a), &map(&b), &options).unwrap()
        };
        for basin in [false, true] {
            let (got, want) = (search(&gpu, basin), search(&Device::cpu(), basin));
            assert_eq!((&got.tracks, &got.converged), (&want.tracks, &want.converged));
            assert_eq!((got.pixels_1, got.pixels_2, got.basin), (want.pixels_1, want.pixels_2, want.basin));
            assert!(!want.tracks.any_active() || want.converged.contains(&true));
        }
    }
}
