//! Frames as the network sees them, in the forms of three programs: the same bytes, and values with the same hash.

use super::{Report, TensorFile};
use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use steropes_models::vjepa2::preprocess::{Crop, Preprocess, Resampling};

/// Tensors `CASE.video_u8_THWC` and, for each form, `CASE.FORM.u8_THWC`; the manifest has the hash of the values as `[3, frames, height, width]`.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    if !report.is_on_cpu(&file.stem()) {
        return Ok(());
    }
    let cases = file.entry()["cases"].as_object().context("`cases` is an object")?;
    for (name, case) in cases {
        let video = format!("{name}.video_u8_THWC");
        let &[_, height, width, 3] = file.shape(&video)?.as_slice() else { bail!("`{video}` has four extents") };
        let video = file.u8(&video)?;
        for (form, resampling) in
            [("meta_eval", Resampling::MetaEval), ("meta_tensor", Resampling::MetaTensor), ("hf", Resampling::Hf)]
        {
            let stored = format!("{name}.{form}.u8_THWC");
            let want = file.u8(&stored)?;
            let preprocess = Preprocess { resampling, size: file.shape(&stored)?[1], crop: Crop::Centre };
            let placement = preprocess.placements([height, width])?[0];
            let frame = |rgb: &[u8]| preprocess.frame(rgb, [height, width], &placement);
            let got: Vec<u8> = video.chunks_exact(3 * height * width).flat_map(frame).collect();
            let label = format!("{}/{name}.{form}", file.stem());
            let equal = steropes_testkit::check_equal(&got, &want).map(|()| format!("{} bytes", got.len()));
            report.verdict(&label, equal);
            let values = preprocess.values(&got);
            let channel = |c: usize| values.iter().skip(c).step_by(3).flat_map(|v| v.to_le_bytes());
            let ordered: Vec<u8> = (0..3).flat_map(channel).collect();
            let hash = format!("{:x}", Sha256::digest(&ordered));
            let want = case[form]["f32_le_sha256"].as_str().with_context(|| format!("the hash of `{label}`"))?;
            let same = if hash == want { Ok(String::new()) } else { Err(format!("SHA-256 {hash}, want {want}")) };
            report.verdict(&format!("{label}.values"), same);
        }
    }
    Ok(())
}
