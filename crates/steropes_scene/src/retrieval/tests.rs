//! Words, similarities and what is learnt, against naive forms in f64.

use super::*;
use steropes_models::retrieval::FeatureCount;
use steropes_tensor::Device;
use steropes_testkit::inputs;

/// The `count` nearest words of each feature, all distances in f64.
fn nearest_naive(features: &[f32], words: &[f32], width: usize, count: usize) -> Vec<u32> {
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let mut all = Vec::new();
    for feature in features.chunks(width) {
        let mut order: Vec<(f64, u32)> =
            words.chunks(width).zip(0..).map(|(word, index)| (distance(feature, word), index)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.extend(order[..count].iter().map(|(_, index)| index));
    }
    all
}

#[test]
fn nearest_words_are_exact() {
    for (width, words, features, count) in [(1, 1, 3, 1), (3, 7, 5, 5), (65, 9001, 70, 5), (16, 40, 4100, 1)]
    {
        let points = inputs::normal("words", words * width);
        let rows = inputs::normal("features", features * width);
        let found = Words::new(points.clone(), width).nearest(&rows, count, &Device::cpu()).unwrap();
        assert_eq!(found, nearest_naive(&rows, &points, width, count), "{words} words of {width}");
    }
    let words = Words::new(inputs::normal("words", 6), 2);
    assert_eq!(words.nearest(&[0.0, 0.0], 5, &Device::cpu()).unwrap().len(), 3, "all if there are fewer");
    assert!(words.nearest(&[], 5, &Device::cpu()).unwrap().is_empty());
}

/// Where f32 cannot tell words apart, f64 does; and equal words are taken from the lowest index on.
#[test]
fn words_that_rounding_hides_are_found() {
    let width = 8;
    // Words far from the origin that differ by little: products are about 1e8, distances about 1e-2.
    let points: Vec<f32> = (0..200 * width).map(|i| 4000.0 + ((i * 7919) % 211) as f32 / 1024.0).collect();
    let rows: Vec<f32> = (0..20 * width).map(|i| 4000.0 + ((i * 104_729) % 199) as f32 / 1024.0).collect();
    let found = Words::new(points.clone(), width).nearest(&rows, 5, &Device::cpu()).unwrap();
    assert_eq!(found, nearest_naive(&rows, &points, width, 5));
    let same = Words::new([1.0f32, 2.0].repeat(50), 2);
    assert_eq!(same.nearest(&[0.0, 0.0], 4, &Device::cpu()).unwrap(), [0, 1, 2, 3]);
}

fn image(name: &str, features: usize, width: usize) -> LocalFeatures {
    let values = inputs::normal(name, features * width);
    LocalFeatures { values, width, attention: vec![1.0; features], tokens: (0..features).collect() }
}

/// The definition: sets of words, sums of residuals, signs, and the sum of the third powers, all in f64.
fn similarity_naive(query: &LocalFeatures, found: &LocalFeatures, words: &[f32]) -> f64 {
    let width = query.width;
    let count = words.len() / width;
    let signs = |image: &LocalFeatures, nearest: usize| -> Vec<Option<Vec<bool>>> {
        let own = nearest_naive(&image.values, words, width, nearest);
        (0..count)
            .map(|word| {
                let members: Vec<usize> = (0..image.len())
                    .filter(|f| own[f * nearest..][..nearest].contains(&(word as u32)))
                    .collect();
                let sum = |d: usize| -> f64 {
                    let residual = |&f: &usize| {
                        f64::from(image.values[f * width + d]) - f64::from(words[word * width + d])
                    };
                    members.iter().map(residual).sum()
                };
                (!members.is_empty()).then(|| (0..width).map(|d| sum(d) > 0.0).collect())
            })
            .collect()
    };
    let (five, one) = (signs(query, 5.min(count)), signs(found, 1));
    let size = |words: &[Option<Vec<bool>>]| words.iter().flatten().count() as f64;
    let mut score = 0.0;
    for (a, b) in five.iter().zip(&one) {
        if let (Some(a), Some(b)) = (a, b) {
            let hamming = a.iter().zip(b).filter(|(a, b)| a != b).count() as f64;
            let s = 1.0 - 2.0 * hamming / width as f64;
            if s >= 0.0 {
                score += s * s * s;
            }
        }
    }
    if size(&five) * size(&one) > 0.0 { score / (size(&five) * size(&one)).sqrt() } else { 0.0 }
}

#[test]
fn similarities_are_those_of_the_definition() {
    for (width, words) in [(3, 2), (64, 20), (70, 13), (130, 40)] {
        let points = inputs::normal("points", words * width);
        let mut images: Vec<LocalFeatures> =
            (0..5).map(|i| image(&format!("image {i}"), [30, 1, 12, 0, 25][i], width)).collect();
        // Features that are words have residuals of exactly 0.
        images.push(LocalFeatures { values: points[..2 * width].to_vec(), ..image("words", 2, width) });
        let found = similarities(&images, &Words::new(points.clone(), width), &Device::cpu()).unwrap();
        for (i, query) in images.iter().enumerate() {
            for (j, other) in images.iter().enumerate() {
                let want = similarity_naive(query, other, &points);
                assert!((found.of(i, j) - want).abs() < 1e-12, "{width}: {} for {want}", found.of(i, j));
            }
        }
        if words >= 20 {
            assert!(found.of(0, 2) != found.of(2, 0) && found.of(0, 0) > 0.0);
        }
    }
}

#[test]
fn learnt_words_do_not_depend_on_threads() {
    let images: Vec<LocalFeatures> = (0..4).map(|i| image(&format!("photo {i}"), 300, 24)).collect();
    let learnt = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| learn::learn_words(&images, 50, seed, &Device::cpu()).unwrap())
    };
    let words = learnt(1, 3);
    assert_eq!(words, learnt(3, 3));
    assert_ne!(words, learnt(1, 4));
    assert_eq!(words.len(), 50);
    // Fewer features than words.
    assert_eq!(learn::learn_words(&images[..1], 1000, 0, &Device::cpu()).unwrap().len(), 300);
}

/// Features in tight groups: each group gets its words, and what is left of each feature is small.
#[test]
fn words_lie_where_features_gather() {
    let (width, groups) = (6, 5);
    let centers = inputs::normal("centers", groups * width);
    let noise = inputs::uniform("noise", 400 * width);
    let values: Vec<f32> = (0..400 * width)
        .map(|i| 10.0 * centers[i / width % groups * width + i % width] + 0.05 * noise[i])
        .collect();
    let one = LocalFeatures {
        values: values.clone(),
        width,
        attention: vec![1.0; 400],
        tokens: (0..400).collect(),
    };
    let words = learn::learn_words(&[one], 20, 1, &Device::cpu()).unwrap();
    let nearest = words.nearest(&values, 1, &Device::cpu()).unwrap();
    for (feature, &word) in values.chunks(width).zip(&nearest) {
        let worst = feature.iter().zip(words.word(word)).map(|(v, w)| (v - w).abs()).fold(0.0, f32::max);
        assert!(worst < 0.11, "a feature is {worst} from its word");
    }
    let spread = |word: u32| nearest.iter().filter(|w| **w == word).count();
    // A word with features lies at their mean.
    for word in 0..words.len() as u32 {
        let count = spread(word);
        if count > 0 {
            for d in 0..width {
                let members =
                    (0..400).filter(|f| nearest[*f] == word).map(|f| f64::from(values[f * width + d]));
                let mean = members.sum::<f64>() / count as f64;
                assert!((mean - f64::from(words.word(word)[d])).abs() < 0.02, "word {word}");
            }
        }
    }
}

#[test]
fn a_matrix_has_rows_of_what_a_photo_finds() {
    let similarity = Similarity::new(vec![0.9, 0.1, 0.2, 0.8], 2);
    assert_eq!((similarity.of(0, 1), similarity.of(1, 0), similarity.photos()), (0.1, 0.2, 2));
    assert_eq!(FeatureCount::Share(0.25).of(10), 2);
}
