//! Preprocessing: synthetic pictures made from a name, and folders of picture files.

use super::{Report, TensorFile};
use anyhow::Context as _;
use image::RgbImage;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use steropes_scene::photo::{InputFormat, Orientation, PixelMap, normalised_chw, read_upright};
use steropes_testkit::inputs::{fnv1a, uniform_at};

/// Levels by which another JPEG decoder may differ on pictures of flat areas.
const JPEG_LEVELS: u8 = 3;

/// The checks of a manifest's list `preprocess`: pictures by formula, the network's image by its SHA-256.
///
/// # Errors
/// An entry lacks what the check needs.
pub(super) fn run_preprocess(salt: &str, cases: &[Value], report: &mut Report<'_>) -> anyhow::Result<()> {
    for case in cases {
        let [width, height] = [integer(case, "w")?, integer(case, "h")?];
        let format = input_format(case)?;
        let name = format!("preprocess: {width}x{height} at {}", format.preset);
        if !report.wants(&name) {
            continue;
        }
        let picture = synthetic(salt, width, height);
        if let Some(want) = case["input_sha256"].as_str() {
            report.verdict(&format!("{name}: input"), same_hash(&picture, want));
        }
        run_case(&name, &picture, &format, case, report)?;
    }
    Ok(())
}

/// The checks of a folder of picture files: `photos` (decoded bytes), `runs` (the network's image) and `decode`
/// (decoded bytes against `tensors`).
///
/// # Errors
/// An entry lacks what the check needs.
pub(super) fn run_photos(
    folder: &Path,
    entry: &Value,
    tensors: Option<&TensorFile>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    for (file, facts) in entry["photos"].as_object().into_iter().flatten() {
        let verdict = decoded(&folder.join(file)).and_then(|rgb| {
            let size = [rgb.width(), rgb.height()].map(u64::from);
            if [&facts["w"], &facts["h"]].map(Value::as_u64) != size.map(Some) {
                return Err(format!("decoded to {} x {}", size[0], size[1]));
            }
            same_hash(&rgb, facts["decoded_rgb_sha256"].as_str().unwrap_or_default())
        });
        report.verdict(&format!("photos: {file}: decoded"), verdict);
    }
    for case in entry["runs"].as_array().into_iter().flatten() {
        let file = case["photo"].as_str().context("a run names its photo")?;
        let format = input_format(case)?;
        let name = format!("photos: {file} at {}", format.preset);
        match decoded(&folder.join(file)) {
            Err(error) => report.verdict(&name, Err(error)),
            Ok(rgb) => {
                run_case(&name, &rgb, &format, case, report)?;
                if let Some(tensors) = tensors {
                    compare_tensor(&name, file, &rgb, &format, tensors, report)?;
                }
            }
        }
    }
    for file in entry["decode"].as_object().into_iter().flatten().map(|(file, _)| file) {
        let name = format!("photos: {file}: decoded");
        let Some(tensors) = tensors else {
            report.verdict(&name, Err("the tensor file is missing".to_owned()));
            continue;
        };
        let verdict = compare_decoded(&folder.join(file), tensors, &format!("decode.{file}.rgb_hwc"))?;
        report.verdict(&name, verdict);
    }
    Ok(())
}

/// `(a + 3 b) div 4` of noise `a` from the picture's name and a ramp `b` along x.
fn synthetic(salt: &str, width: u32, height: u32) -> RgbImage {
    let hash = fnv1a(&format!("{salt}img{width}x{height}"));
    let mut bytes = Vec::with_capacity((3 * width * height) as usize);
    let mut index = 0;
    for _ in 0..height {
        for x in 0..width {
            let ramp = 255 * x / (width - 1).max(1);
            for _ in 0..3 {
                let noise = ((0.5 * uniform_at(hash, index) + 0.5) * 256.0).floor() as u32;
                bytes.push(((noise + 3 * ramp) / 4) as u8);
                index += 1;
            }
        }
    }
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

/// The network's image of one picture: its shape, its bytes, and the normalised floats.
fn run_case(
    name: &str,
    picture: &RgbImage,
    format: &InputFormat,
    case: &Value,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let network = match network_image(picture, format) {
        Ok(network) => network,
        Err(error) => {
            report.verdict(name, Err(error));
            return Ok(());
        }
    };
    let shape = [u64::from(network.height()), u64::from(network.width())];
    let want: Vec<u64> = serde_json::from_value(case["true_shape"].clone()).context("`true_shape`")?;
    let verdict =
        if want == shape { Ok(format!("{shape:?}")) } else { Err(format!("{shape:?}, want {want:?}")) };
    report.verdict(&format!("{name}: shape"), verdict);
    let want = case["out_u8_hwc_sha256"].as_str().context("`out_u8_hwc_sha256`")?;
    report.verdict(&format!("{name}: bytes"), same_hash(&network, want));
    let want = case["normalised_f32_le_chw_sha256"].as_str().context("`normalised_f32_le_chw_sha256`")?;
    let floats: Vec<u8> = normalised_chw(&network).into_iter().flat_map(f32::to_le_bytes).collect();
    report.verdict(&format!("{name}: normalised"), same_hash(&floats, want));
    for (key, pixels) in
        [("first_pixels", first_pixels(&network)), ("corner_pixels", corner_pixels(&network))]
    {
        if let Some(want) = case.get(key) {
            let got = serde_json::to_value(pixels)?;
            let verdict = if &got == want { Ok(String::new()) } else { Err(format!("{got}, want {want}")) };
            report.verdict(&format!("{name}: {}", key.replace('_', " ")), verdict);
        }
    }
    Ok(())
}

fn first_pixels(image: &RgbImage) -> Vec<[u8; 3]> {
    image.pixels().take(4).map(|p| p.0).collect()
}

fn corner_pixels(image: &RgbImage) -> Vec<[u8; 3]> {
    let [right, bottom] = [image.width() - 1, image.height() - 1];
    [(0, 0), (right, 0), (0, bottom), (right, bottom)].map(|(x, y)| image.get_pixel(x, y).0).to_vec()
}

/// A tensor `<photo's first word>.size<preset>.f32_chw`, where the file has one, bit for bit.
fn compare_tensor(
    name: &str,
    file: &str,
    rgb: &RgbImage,
    format: &InputFormat,
    tensors: &TensorFile,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let stem = file.split(['_', '.']).next().unwrap_or(file);
    let tensor = format!("{stem}.size{}.f32_chw", format.preset);
    if tensors.has(&tensor) {
        let got = network_image(rgb, format).map(|image| normalised_chw(&image)).unwrap_or_default();
        let verdict = steropes_testkit::check_equal(&got, &tensors.f32(&tensor)?);
        report
            .verdict(&format!("{name}: tensor {tensor}"), verdict.map(|()| format!("{} values", got.len())));
    }
    Ok(())
}

fn compare_decoded(
    path: &Path,
    tensors: &TensorFile,
    tensor: &str,
) -> anyhow::Result<Result<String, String>> {
    let (want, shape) = (tensors.u8(tensor)?, tensors.shape(tensor)?);
    let is_jpeg =
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"));
    let allowed = if is_jpeg { JPEG_LEVELS } else { 0 };
    Ok(decoded(path).and_then(|rgb| {
        if [rgb.height() as usize, rgb.width() as usize, 3] != shape[..] {
            return Err(format!("decoded to {} x {}", rgb.width(), rgb.height()));
        }
        let worst = rgb.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        let text = format!("largest difference {worst} of {allowed}");
        if worst <= allowed { Ok(text) } else { Err(text) }
    }))
}

fn decoded(path: &Path) -> Result<RgbImage, String> {
    read_upright(path).map(|photo| photo.rgb).map_err(|error| error.to_string())
}

fn network_image(picture: &RgbImage, format: &InputFormat) -> Result<RgbImage, String> {
    let size = [picture.width(), picture.height()];
    let map = PixelMap::new(Path::new("picture"), size, Orientation::NoTransforms, format)
        .map_err(|error| error.to_string())?;
    let ([x, y], [width, height]) = (map.crop_origin, map.network_size);
    Ok(image::imageops::crop_imm(&format.resized(picture), x, y, width, height).to_image())
}

fn input_format(case: &Value) -> anyhow::Result<InputFormat> {
    let patch = if case.get("patch_size").is_some() { integer(case, "patch_size")? } else { 16 };
    let square_ok = case.get("square_ok").and_then(Value::as_bool).unwrap_or(false);
    Ok(InputFormat { preset: integer(case, "size")?, patch, square_ok })
}

fn integer(case: &Value, key: &str) -> anyhow::Result<u32> {
    let value = case[key].as_u64().with_context(|| format!("`{key}` must be a whole number"))?;
    Ok(u32::try_from(value)?)
}

fn same_hash(bytes: &[u8], want: &str) -> Result<String, String> {
    let got: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if got == want {
        Ok(format!("{} bytes", bytes.len()))
    } else {
        Err(format!("SHA-256 {got}, want {want}"))
    }
}
