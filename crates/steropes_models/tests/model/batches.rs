//! Batches, views of different sizes and both orders, for each kind of network: what pairs by themselves give.

use crate::files::WeightFile;
use steropes_models::mast3r::synthetic::{
    DptWidths, DuneExtents, Extents, dune_parameters, parameters, weight_file,
};
use steropes_models::{Encoded, Model, Precision, ViewOutput};
use steropes_ops::elementwise::copy::copy_rows;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Tolerance, check_close};

fn load(config: &str, weights: Vec<u8>) -> Model {
    Model::from_bytes("net", config, weights, &Device::cpu(), Precision::F32).unwrap()
}

const SMALL: Extents = Extents {
    patch: 16,
    enc: 16,
    dec: 8,
    enc_depth: 1,
    dec_depth: 2,
    descriptor: None,
    dpt: DptWidths { features: 8, last: 4, stages: [4, 6, 8, 10] },
    ..Extents::MAST3R_LARGE
};

const TRUNK: &str = "pos_embed='RoPE100', enc_embed_dim=16, enc_depth=1, enc_num_heads=2, dec_embed_dim=8, \
                     dec_depth=2, dec_num_heads=1";

fn dust3r(head: &str) -> Model {
    let args = format!("AsymmetricCroCo3DStereo({TRUNK}, head_type='{head}')");
    let extents = Extents { is_linear: head == "linear", ..SMALL };
    let config = serde_json::json!({ "args": args }).to_string();
    load(&config, weight_file("batches", &parameters(&extents), DType::F32))
}

fn dune() -> Model {
    let args = format!(
        "AsymmetricMASt3R({TRUNK}, head_type='catmlp+dpt', output_mode='pts3d+desc24', two_confs=True)"
    );
    let encoder = DuneExtents { patch: 14, width: 16, depth: 1, side: 3, registers: 2 };
    let extents = Extents { patch: 14, enc_depth: 0, descriptor: Some(24), ..SMALL };
    let config = serde_json::json!({ "mast3r_model_str": args }).to_string();
    load(&config, weight_file("batches", &dune_parameters(&encoder, &extents), DType::F32))
}

/// All images of `names` at once, of so many patches.
fn encode(model: &Model, names: &[&str], grid: [usize; 2]) -> Encoded {
    let [height, width] = grid.map(|side| side * model.info().patch_size);
    let values: Vec<f32> = names.iter().flat_map(|name| uniform(name, 3 * height * width)).collect();
    model.encode(&model.image([names.len(), height, width, 3], values).unwrap()).unwrap()
}

/// Image `i` of `got` is what `want` says about one image.
fn assert_image(got: &ViewOutput, i: usize, want: &ViewOutput) {
    let parts = |output: &ViewOutput| {
        let all = [Some(&output.points), Some(&output.confidence), output.descriptors.as_ref()];
        all.into_iter().flatten().cloned().collect::<Vec<Tensor>>()
    };
    assert_eq!(parts(got).len(), parts(want).len());
    for (got, want) in parts(got).iter().zip(&parts(want)) {
        let got = copy_rows(got, i..i + 1).unwrap();
        assert_eq!(got.shape(), want.shape());
        let want: Vec<f64> = want.read::<f32>().unwrap().into_iter().map(f64::from).collect();
        check_close(got.cpu_slice().unwrap(), &want, Tolerance::OfLargest(1e-5)).unwrap();
    }
}

fn assert_batches_agree(model: &Model) {
    // Landscape and portrait, with odd grids; and both alike.
    for [grid1, grid2] in [[[2, 3], [5, 2]], [[3, 2], [3, 2]]] {
        let (first, second) = (encode(model, &["a", "b"], grid1), encode(model, &["c", "d"], grid2));
        let both = model.decode_both(&first, &second).unwrap();
        let (view1, view2) = model.decode(&first, &second).unwrap();
        for (i, (a, b)) in [("a", "c"), ("b", "d")].into_iter().enumerate() {
            let (a, b) = (encode(model, &[a], grid1), encode(model, &[b], grid2));
            let (out11, out21) = model.decode(&a, &b).unwrap();
            let (out22, out12) = model.decode(&b, &a).unwrap();
            for (got, want) in [
                (&view1, &out11),
                (&view2, &out21),
                (&both.out11, &out11),
                (&both.out21, &out21),
                (&both.out22, &out22),
                (&both.out12, &out12),
            ] {
                assert_image(got, i, want);
            }
        }
    }
}

#[test]
fn of_linear_heads() {
    assert_batches_agree(&load(&WeightFile::smallest_config(), WeightFile::smallest().bytes()));
    assert_batches_agree(&dust3r("linear"));
}

#[test]
fn of_dpt_heads() {
    assert_batches_agree(&dust3r("dpt"));
}

#[test]
fn of_the_embedded_network() {
    assert_batches_agree(&Model::embedded(&Device::cpu(), Precision::F32).unwrap());
}

#[test]
fn of_dune() {
    assert_batches_agree(&dune());
}
