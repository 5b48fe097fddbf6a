use super::*;
use sha2::{Digest as _, Sha256};

fn preprocess(resampling: Resampling, size: usize, crop: Crop) -> Preprocess {
    Preprocess { resampling, size, crop }
}

const ALL: [Resampling; 3] = [Resampling::MetaEval, Resampling::MetaTensor, Resampling::Hf];

/// Noise over a ramp, so that no two windows are alike.
fn picture([height, width]: [usize; 2]) -> Vec<u8> {
    let byte = |i: usize| (((i * 2_654_435_761) >> 7) % 190) as u8 + (i / 3 % width * 60 / width) as u8;
    (0..3 * height * width).map(byte).collect()
}

#[test]
fn centre_crops_lie_where_the_published_programs_have_them() {
    // Width x height, then resized width, height and offset x, y at 256 and 384.
    let cases = [
        ([640, 480], [389, 292, 66, 18], [584, 438, 100, 27]),
        ([1280, 720], [519, 292, 132, 18], [778, 438, 197, 27]),
        ([1920, 1080], [519, 292, 132, 18], [778, 438, 197, 27]),
        ([720, 1280], [292, 519, 18, 132], [438, 778, 27, 197]),
    ];
    for ([width, height], at_256, at_384) in cases {
        for (size, [w, h, x, y]) in [(256, at_256), (384, at_384)] {
            let got =
                preprocess(Resampling::MetaEval, size, Crop::Centre).placements([height, width]).unwrap();
            let want = Placement { frame: [height, width], resized: [h, w], origin: [y, x], size: [size; 2] };
            assert_eq!(got, [want]);
        }
    }
    let hf = preprocess(Resampling::Hf, 256, Crop::Centre).placements([720, 1280]).unwrap();
    assert_eq!(hf[0].origin, [18, 131]);
    let kept =
        preprocess(Resampling::MetaEval, 256, Crop::Centre).placements([480, 640]).unwrap()[0].area_kept();
    assert!((kept - 0.577).abs() < 5e-4, "{kept}");
}

#[test]
fn the_full_width_is_a_multiple_of_the_patch() {
    for (frame, size, origin) in [
        ([720, 1280], [256, 448], [0, 3]),
        ([1280, 720], [448, 256], [3, 0]),
        ([480, 640], [256, 336], [0, 2]),
        ([256, 256], [256, 256], [0, 0]),
    ] {
        let got = preprocess(Resampling::Hf, 256, Crop::Full).placements(frame).unwrap();
        assert_eq!((got[0].size, got[0].origin), (size, origin), "{frame:?}");
    }
}

#[test]
fn views_run_from_one_end_to_the_other() {
    let origins = |frame, views| -> Vec<[usize; 2]> {
        let placements = preprocess(Resampling::MetaEval, 256, Crop::Views(views)).placements(frame).unwrap();
        assert!(placements.iter().all(|p| p.size == [256, 256]));
        placements.iter().map(|p| p.origin).collect()
    };
    // 1280 x 720 becomes 455 x 256: floor(199 / 2) = 99.
    assert_eq!(origins([720, 1280], 3), [[0, 0], [0, 99], [0, 198]]);
    assert_eq!(origins([1280, 720], 2), [[0, 0], [199, 0]]);
    assert_eq!(origins([720, 1280], 1), [[0, 100]]);
    assert_eq!(origins([300, 300], 3), [[0, 0]; 3]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let error = |size, crop, frame| preprocess(Resampling::Hf, size, crop).placements(frame).unwrap_err();
    assert_eq!(error(250, Crop::Centre, [9, 9]), PreprocessError::Size { given: 250 });
    assert_eq!(error(0, Crop::Full, [9, 9]), PreprocessError::Size { given: 0 });
    assert_eq!(error(64, Crop::Views(0), [9, 9]), PreprocessError::NoViews);
    assert!(error(64, Crop::Centre, [0, 9]).to_string().contains("9 x 0 pixels"));
    assert!("bicubic".parse::<Resampling>().unwrap_err().to_string().contains("meta-tensor"));
    assert!("views-0".parse::<Crop>().is_err());
    for resampling in ALL {
        assert_eq!(resampling.to_string().parse(), Ok(resampling));
    }
    for crop in [Crop::Centre, Crop::Full, Crop::Views(3)] {
        assert_eq!(crop.to_string().parse(), Ok(crop));
    }
}

/// A flat picture stays flat, to the byte, in every form and at every size; weights that do not sum to one would show.
#[test]
fn flat_pictures_stay_flat() {
    for resampling in ALL {
        for frame in [[33, 57], [64, 64], [40, 200], [301, 97]] {
            for crop in [Crop::Centre, Crop::Full, Crop::Views(2)] {
                let preprocess = preprocess(resampling, 64, crop);
                for grey in [0u8, 1, 127, 254, 255] {
                    let rgb = vec![grey; 3 * frame[0] * frame[1]];
                    for placement in preprocess.placements(frame).unwrap() {
                        let out = preprocess.frame(&rgb, frame, &placement);
                        assert_eq!(out.len(), 3 * placement.size[0] * placement.size[1]);
                        // Sixteen-bit weights need not sum to one exactly.
                        let slack = u8::from(resampling == Resampling::Hf);
                        assert!(
                            out.iter().all(|v| v.abs_diff(grey) <= slack),
                            "{resampling} {frame:?} {grey}"
                        );
                    }
                }
            }
        }
    }
}

/// The part of a resized frame is what the whole one would have there.
#[test]
fn a_part_is_cut_from_the_whole() {
    let frame = [90, 131];
    let rgb = picture(frame);
    for resampling in ALL {
        let preprocess = preprocess(resampling, 64, Crop::Centre);
        let placement = preprocess.placements(frame).unwrap()[0];
        let whole = Placement { origin: [0, 0], size: placement.resized, ..placement };
        let all = preprocess.frame(&rgb, frame, &whole);
        let cut = resize::copy(&all, whole.size[1], placement.part());
        assert_eq!(preprocess.frame(&rgb, frame, &placement), cut, "{resampling}");
    }
}

/// Against the exact integral of the filter in f64: a level for what each form rounds.
#[test]
fn antialias_is_near_the_exact_filter() {
    let frame = [90, 131];
    let rgb = picture(frame);
    let axis = |from: usize, to: usize| -> Vec<Vec<(usize, f64)>> {
        let scale = from as f64 / to as f64;
        let weights = |i: usize| {
            let weight =
                |j: usize| (1.0 - ((j as f64 + 0.5 - (i as f64 + 0.5) * scale) / scale).abs()).max(0.0);
            let sum: f64 = (0..from).map(weight).sum();
            (0..from).map(|j| (j, weight(j) / sum)).filter(|w| w.1 > 0.0).collect()
        };
        (0..to).map(weights).collect()
    };
    for resampling in [Resampling::MetaTensor, Resampling::Hf] {
        let preprocess = preprocess(resampling, 64, Crop::Centre);
        let placement = preprocess.placements(frame).unwrap()[0];
        let (down, across) = (axis(frame[0], placement.resized[0]), axis(frame[1], placement.resized[1]));
        let got = preprocess.frame(&rgb, frame, &placement);
        for y in 0..64 {
            for x in 0..64 {
                for c in 0..3 {
                    let (row, column) = (&down[y + placement.origin[0]], &across[x + placement.origin[1]]);
                    let value = |&(j, v): &(usize, f64)| -> f64 {
                        column.iter().map(|&(i, u)| u * v * f64::from(rgb[3 * (j * frame[1] + i) + c])).sum()
                    };
                    let want: f64 = row.iter().map(value).sum();
                    let error = (f64::from(got[3 * (y * 64 + x) + c]) - want).abs();
                    assert!(error <= 1.1, "{resampling} at {x}, {y}: off by {error}");
                }
            }
        }
    }
}

#[test]
fn opencv_samples_and_does_not_average() {
    // Columns of black and white at a quarter of the size: samples at 1.5 + 4 i lie between a black and a white one.
    let frame = [256, 512];
    let rgb: Vec<u8> =
        (0..frame[0] * frame[1]).flat_map(|i| [if i % 512 % 4 == 0 { 255 } else { 0 }; 3]).collect();
    let eval = preprocess(Resampling::MetaEval, 64, Crop::Full);
    let placement = eval.placements(frame).unwrap()[0];
    let out = eval.frame(&rgb, frame, &placement);
    assert!(out.iter().all(|&v| v == 0), "samples between columns 1 and 2 see no white one");
    let tensor = preprocess(Resampling::MetaTensor, 64, Crop::Full);
    let out = tensor.frame(&rgb, frame, &placement);
    assert!(out[3 * 5..3 * 100].iter().all(|&v| v.abs_diff(64) <= 1), "antialias sees one of four");
}

#[test]
fn bytes_become_values_of_each_channel() {
    let eval = preprocess(Resampling::MetaEval, 16, Crop::Centre).values(&[0, 128, 255, 255, 0, 7]);
    let want = [(0.0, 0), (128.0, 1), (255.0, 2), (255.0, 0), (0.0, 1), (7.0, 2)];
    assert_eq!(eval, want.map(|(v, c)| (v / 255.0 - MEAN[c]) / STD[c]));
    let hf = preprocess(Resampling::Hf, 16, Crop::Centre).values(&[0, 128, 255]);
    assert!(hf.iter().zip(&eval).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn the_arm_sees_a_rectangle_squeezed_to_a_square() {
    assert_eq!(action_rectangle([720, 1280]), Some(([0, 154], [720, 972])));
    assert_eq!(action_rectangle([480, 640]), Some(([0, 0], [480, 640])));
    assert_eq!(action_rectangle([1280, 720]), Some(([160, 0], [960, 720])));
    assert_eq!(action_rectangle([0, 4]), None);
    // A ramp along x stays one: each value is the middle of the columns that it stands for.
    let frame = [100, 130];
    let rgb: Vec<u8> = (0..100 * 130).flat_map(|i| [(i % 130) as u8; 3]).collect();
    let out = action_frame(&rgb, frame, 32).unwrap();
    assert_eq!(out.len(), 3 * 32 * 32);
    for x in 1..31 {
        let ramp = out[3 * (7 * 32 + x)] * STD[0] * 255.0 + MEAN[0] * 255.0;
        assert!((f64::from(ramp) - ((x as f64 + 0.5) * 130.0 / 32.0 - 0.5)).abs() < 1e-3, "{x}: {ramp}");
    }
}

#[test]
fn a_point_is_found_in_the_frame() {
    let placement = preprocess(Resampling::MetaEval, 256, Crop::Centre).placements([720, 1280]).unwrap()[0];
    let [x, y] = placement.frame_from_network([128.0, 128.0]);
    assert!((x - 640.0).abs() < 2.0 && (y - 360.0).abs() < 2.0, "the middle is the middle: {x}, {y}");
}

/// Stored bytes of the three programs, and the hashes of their values: all cases beside the repository if they are there, else those in it.
#[test]
fn the_golden_frames() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let beside = workspace.join("../shared/golden/vjepa2");
    let folder = if beside.is_dir() { beside } else { workspace.join("tests/golden/vjepa2") };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join("preprocess.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let cases = manifest["files"]["preprocess.safetensors"]["cases"].as_object().unwrap();
    assert!(cases.len() >= 3);
    for (name, case) in cases {
        let video = tensors.tensor(&format!("{name}.video_u8_THWC")).unwrap();
        let &[frames, height, width, 3] = video.shape() else { panic!("{name}: frames of bytes") };
        for (key, resampling) in [("meta_eval", ALL[0]), ("meta_tensor", ALL[1]), ("hf", ALL[2])] {
            let want = tensors.tensor(&format!("{name}.{key}.u8_THWC")).unwrap();
            let preprocess = preprocess(resampling, want.shape()[1], Crop::Centre);
            let placement = preprocess.placements([height, width]).unwrap()[0];
            let resized: [usize; 2] = serde_json::from_value(case["resized_hw"].clone()).unwrap();
            assert_eq!(placement.resized, resized, "{name}");
            let frame = |rgb: &[u8]| preprocess.frame(rgb, [height, width], &placement);
            let got: Vec<u8> = video.data().chunks_exact(3 * height * width).flat_map(frame).collect();
            assert!(got == want.data(), "{name}.{key}: other bytes");
            let values = preprocess.values(&got);
            let pixels = frames * want.shape()[1] * want.shape()[2];
            let first = |c: usize| (0..pixels).map(move |p| 3 * p + c);
            let order = (0..3).flat_map(first).flat_map(|i| values[i].to_le_bytes());
            let hash = format!("{:x}", Sha256::digest(order.collect::<Vec<u8>>()));
            assert_eq!(case[key]["f32_le_sha256"], hash, "{name}.{key}: other values");
        }
    }
}
