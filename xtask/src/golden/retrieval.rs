//! Golden cases of image retrieval: features, similarities and the pair graph.

use super::{Report, TensorFile};
use steropes_models::mast3r::synthetic::weight;
use steropes_models::retrieval::{FeatureCount, LocalFeatures, Retrieval, Whitening};
use steropes_scene::pair_graph::{farthest_photos, retrieval_pairs};
use steropes_scene::retrieval::{Similarity, Words, similarities};
use steropes_testkit::{Tolerance, inputs};

/// Features and lengths, relative to the largest value.
const FEATURES: Tolerance = Tolerance::OfLargest(1e-5);
/// Similarities, absolute.
const SCORES: f64 = 1e-6;

/// Whitened features of generated tokens, by a whitening whose weights are generated from their names.
///
/// # Errors
/// The file is not laid out as such.
pub(super) fn features(file: &TensorFile, salt: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let stem = file.stem();
    let (tokens, shape) = (file.f32("feat")?, file.shape("feat")?);
    let width = shape[shape.len() - 1];
    let name = format!("{salt}retr.feat");
    let is_generated = inputs::uniform(&name, tokens.len()) == tokens;
    report.verdict(
        &format!("{stem} feat"),
        if is_generated { Ok(String::new()) } else { Err(format!("not `{name}`")) },
    );
    let generated = |name: &str, shape: &[usize]| -> Vec<f64> {
        weight(salt, name, shape).into_iter().map(f64::from).collect()
    };
    let whitening =
        || Whitening::new(generated("prewhiten.m", &[1, width]), generated("prewhiten.p", &[width, width]));
    let index = file.i64("top_idx")?;
    let kept = Retrieval::learnt(whitening(), FeatureCount::AtMost(index.len())).features(&tokens)?;
    let found: Vec<i64> = kept.tokens.iter().map(|&token| token as i64).collect();
    let verdict =
        if found == index { Ok(String::new()) } else { Err(format!("got {found:?}, want {index:?}")) };
    report.verdict(&format!("{stem} top_idx"), verdict);
    report.close(&format!("{stem} top_attn"), &kept.attention, &file.f64("top_attn")?, FEATURES);
    report.close(&format!("{stem} top_feat"), &kept.values, &file.f64("top_feat")?, FEATURES);
    // The sum of all features by their lengths, normalised.
    let all = Retrieval::learnt(whitening(), FeatureCount::Share(1.0)).features(&tokens)?;
    report.close(&format!("{stem} spoc"), &global(&all), &file.f64("spoc")?, FEATURES);
    Ok(())
}

fn global(all: &LocalFeatures) -> Vec<f32> {
    let mut sum = vec![0.0f64; all.width];
    for (row, &length) in all.values.chunks_exact(all.width).zip(&all.attention) {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v) * f64::from(length));
    }
    let norm = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
    sum.into_iter().map(|s| (s / norm) as f32).collect()
}

/// Similarities of images by their features and a codebook.
///
/// # Errors
/// The file is not laid out as such.
pub(super) fn scores(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let (features, ids) = (file.f32("feat")?, file.i64("ids")?);
    let width = file.shape("feat")?[1];
    let words = Words::new(file.f32("centroids")?, width);
    let count = ids.iter().max().map_or(0, |last| last + 1);
    let of_image = |id: i64| {
        let tokens: Vec<usize> = (0..ids.len()).filter(|&row| ids[row] == id).collect();
        let values = tokens.iter().flat_map(|&row| features[row * width..][..width].to_vec()).collect();
        LocalFeatures { values, width, attention: vec![0.0; tokens.len()], tokens }
    };
    let images: Vec<LocalFeatures> = (0..count).map(of_image).collect();
    let found = similarities(&images, &words, &report.device())?;
    let wanted = file.f64("scores")?;
    anyhow::ensure!(found.values().len() == wanted.len(), "`scores` of {count} images");
    let error = found.values().iter().zip(&wanted).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
    report.at_most(&format!("{} scores", file.stem()), error, SCORES);
    Ok(())
}

/// The pair graph of similarities.
///
/// # Errors
/// The file is not laid out as such.
pub(super) fn graph(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let stem = file.stem();
    let cases = file.entry()["params"]["cases"].as_object().cloned().unwrap_or_default();
    anyhow::ensure!(!cases.is_empty(), "`params.cases` describes the cases");
    for (name, case) in &cases {
        let number =
            |key: &str| case[key].as_u64().map(|n| n as usize).ok_or_else(|| anyhow::anyhow!("`{key}`"));
        let similarity = Similarity::new(file.f64(&format!("{name}.sim"))?, number("N")?);
        let keys = farthest_photos(&similarity, number("first_key")?, number("Na")?);
        let found = keys.iter().map(|&k| k as i64).collect();
        report.verdict(&format!("{stem} {name}.keys"), same(found, file.i64(&format!("{name}.keys"))?));
        let pairs = retrieval_pairs(&similarity, &keys, number("k")?);
        let found = pairs.iter().flatten().map(|&i| i as i64).collect();
        // The reference lists some pairs in both orders.
        let stored = file.i64(&format!("{name}.pairs"))?;
        let mut wanted: Vec<[i64; 2]> =
            stored.as_chunks::<2>().0.iter().map(|&[i, j]| [i.min(j), i.max(j)]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        report.verdict(&format!("{stem} {name}.pairs"), same(found, wanted.concat()));
    }
    Ok(())
}

fn same(got: Vec<i64>, want: Vec<i64>) -> Result<String, String> {
    if got == want { Ok(String::new()) } else { Err(format!("got {got:?}, want {want:?}")) }
}
