//! Section 4.4: the low-rank basis for depths.

use super::{Report, TensorFile};
use anyhow::Context as _;
use steropes_scene::alignment::{AnchorDepths, Laplacian, spectral_basis};
use steropes_testkit::Tolerance;

/// Runs one file; the cases and their options stand in the manifest.
///
/// # Errors
/// The manifest or the file lacks something.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["params"]["cases"].as_object().context("the entry lists cases")?;
    for (case, params) in cases {
        let name = format!("{}/{case}", file.stem());
        let number = |key: &str| params[key].as_f64().with_context(|| format!("`{key}` of {name}"));
        let k = file.f64(&format!("{case}.K"))?;
        let depths = file.f64(&format!("{case}.depth"))?;
        let columns = file.shape(&format!("{case}.depth"))?[1];
        let anchors = AnchorDepths {
            depths: &depths,
            columns,
            subsample: number("W")? as usize / columns,
            focal_px: [k[0], k[4]],
            center_px: [k[2], k[5]],
        };
        let normalised = params["normalized_cuts"].as_bool().context("a case says which Laplacian")?;
        let laplacian = if normalised { Laplacian::Normalised } else { Laplacian::Plain };
        let basis = spectral_basis(&anchors, laplacian, number("gamma")?, number("k")? as usize)?;

        let want = file.f64(&format!("{case}.eigenvalues"))?;
        let got: Vec<f32> = basis.eigenvalues[..want.len()].iter().map(|v| *v as f32).collect();
        report.close(&format!("{name}/eigenvalues"), &got, &want, Tolerance::Absolute(2e-6));
        let projector: Vec<f32> =
            (&basis.vectors * basis.vectors.transpose()).iter().map(|v| *v as f32).collect();
        let want = file.f64(&format!("{case}.projector"))?;
        let bound = 1e-5 / number("spectral_gap")?;
        report.close(&format!("{name}/projector"), &projector, &want, Tolerance::Absolute(bound));
        let projected: Vec<f32> = basis.project(&depths).into_iter().map(|v| v as f32).collect();
        let want = file.f64(&format!("{case}.reconstruction"))?;
        report.close(&format!("{name}/reconstruction"), &projected, &want, Tolerance::OfLargest(1e-4));
    }
    Ok(())
}
