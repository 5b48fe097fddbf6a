//! The embedded model: its stored outputs, and one decode for both orders of a pair.

use crate::files::{WeightFile, embedded_folder, picture};
use safetensors::SafeTensors;
use steropes_models::{BothOrders, Model, Precision, ViewOutput};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Tolerance, check_close};

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.cpu_slice::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

/// All values of an output.
fn all_bits(output: &ViewOutput) -> Vec<u32> {
    let parts = [Some(&output.points), Some(&output.confidence)];
    let optional = [output.descriptors.as_ref(), output.descriptor_confidence.as_ref()];
    parts.into_iter().chain(optional).flatten().flat_map(bits).collect()
}

/// Passes if two networks gave the same bits for a pair.
pub(crate) fn assert_same(one: &BothOrders, other: &BothOrders) {
    assert!(all_bits(&one.out11) == all_bits(&other.out11), "out11");
    assert!(all_bits(&one.out21) == all_bits(&other.out21), "out21");
    assert!(all_bits(&one.out22) == all_bits(&other.out22), "out22");
    assert!(all_bits(&one.out12) == all_bits(&other.out12), "out12");
}

#[test]
fn stored_outputs_are_reproduced() {
    let bytes = std::fs::read(embedded_folder().join("golden_forward.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |name: &str| -> Vec<f32> {
        let data = golden.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let image = |name: &str| {
        let view = golden.tensor(name).unwrap();
        let &[1, 3, height, width] = view.shape() else { panic!("{name}: {:?}", view.shape()) };
        let planes = stored(name);
        let pixels = (0..height * width).flat_map(|p| [0, 1, 2].map(|c| planes[c * height * width + p]));
        Tensor::new(&Device::cpu(), &[1, height, width, 3], pixels.collect()).unwrap()
    };
    let model = Model::embedded(&Device::cpu(), Precision::F32).unwrap();
    let (one, two) = (model.encode(&image("img1")).unwrap(), model.encode(&image("img2")).unwrap());
    let (view1, view2) = model.decode(&one, &two).unwrap();
    for (view, output) in [("view1", view1), ("view2", view2)] {
        let (points, fine) = (Tolerance::OfLargest(5e-5), Tolerance::OfLargest(1e-5));
        for (part, tensor, tolerance) in [
            ("pts3d", output.points, points),
            ("conf", output.confidence, points),
            ("desc", output.descriptors.unwrap(), fine),
            ("desc_conf", output.descriptor_confidence.unwrap(), fine),
        ] {
            let name = format!("{view}.{part}");
            assert_eq!(tensor.shape(), golden.tensor(&name).unwrap().shape());
            let want: Vec<f64> = stored(&name).into_iter().map(f64::from).collect();
            check_close(tensor.cpu_slice().unwrap(), &want, tolerance)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn both_orders_equal_two_decodes_for_views_of_different_sizes() {
    let model = Model::embedded(&Device::cpu(), Precision::F32).unwrap();
    let a = model.encode(&picture("a", 32, 64)).unwrap();
    let b = model.encode(&picture("b", 48, 32)).unwrap();
    let (out11, out21) = model.decode(&a, &b).unwrap();
    let (out22, out12) = model.decode(&b, &a).unwrap();
    assert_eq!((out12.points.shape(), out21.points.shape()), (&[1, 32, 64, 3][..], &[1, 48, 32, 3][..]));
    let want = BothOrders { out11, out21, out22, out12 };
    let got = model.decode_both(&a, &b).unwrap();
    assert_same(&got, &want);
    assert!(bits(&got.out11.points) != bits(&got.out12.points), "the point heads are not tied");
    let (slot1, slot2) = (got.out11.descriptors.unwrap(), got.out12.descriptors.unwrap());
    assert!(bits(&slot1) == bits(&slot2), "the descriptor heads are tied");
}

#[test]
fn tied_weights_give_what_the_same_weights_stored_twice_give() {
    let text = std::fs::read_to_string(embedded_folder().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ties = config["tied"].take();
    let mut file = WeightFile::embedded();
    for (tied, source) in ties.as_object().unwrap() {
        let source = format!("{}.", source.as_str().unwrap());
        let below: Vec<_> = file.0.iter().filter(|(name, _)| name.starts_with(&source)).collect();
        let copies: Vec<_> = below
            .into_iter()
            .map(|(n, t)| (n.replacen(&source, &format!("{tied}."), 1), t.clone()))
            .collect();
        assert!(!copies.is_empty());
        file.0.extend(copies);
    }
    config.as_object_mut().unwrap().remove("tied");
    let device = Device::cpu();
    let twice =
        Model::from_bytes("twice", &config.to_string(), file.bytes(), &device, Precision::F32).unwrap();
    let once = Model::embedded(&device, Precision::F32).unwrap();
    assert!(twice.info().parameters > once.info().parameters);
    let both = |model: &Model| {
        let (a, b) = (picture("left", 32, 48), picture("right", 32, 48));
        model.decode_both(&model.encode(&a).unwrap(), &model.encode(&b).unwrap()).unwrap()
    };
    assert_same(&both(&once), &both(&twice));
}

#[test]
fn the_folder_of_the_model_is_the_embedded_model() {
    let device = Device::cpu();
    let (embedded, opened) = (
        Model::embedded(&device, Precision::F32).unwrap(),
        Model::open(&embedded_folder(), &device, Precision::F32).unwrap(),
    );
    assert_eq!(embedded.info(), opened.info());
    assert_eq!(embedded.config(), opened.config());
    let info = embedded.info();
    assert_eq!((info.name.as_str(), info.licence.as_deref()), ("steropes-tiny", Some("Apache-2.0")));
    assert!(info.has_descriptors && embedded.sha256().len() == 64 && !info.training_sizes.is_empty());
}

#[test]
fn a_batch_gives_what_its_images_give_alone() {
    let model = Model::embedded(&Device::cpu(), Precision::F32).unwrap();
    let images = ["p", "q", "r", "s"].map(|name| picture(name, 32, 48));
    let stack = |one: &Tensor, other: &Tensor| {
        let values = [one, other].map(|t| t.read::<f32>().unwrap()).concat();
        Tensor::new(&Device::cpu(), &[2, 32, 48, 3], values).unwrap()
    };
    let firsts = model.encode(&stack(&images[0], &images[1])).unwrap();
    let seconds = model.encode(&stack(&images[2], &images[3])).unwrap();
    let (view1, view2) = model.decode(&firsts, &seconds).unwrap();
    assert_eq!(view1.points.shape(), [2, 32, 48, 3]);
    for b in 0..2 {
        let alone = [&images[b], &images[2 + b]].map(|image| model.encode(image).unwrap());
        let (want1, want2) = model.decode(&alone[0], &alone[1]).unwrap();
        for (got, want) in [(&view1, want1), (&view2, want2)] {
            let want: Vec<f64> = want.points.read::<f32>().unwrap().into_iter().map(f64::from).collect();
            let got = &got.points.cpu_slice::<f32>().unwrap()[b * want.len()..][..want.len()];
            check_close(got, &want, Tolerance::OfLargest(1e-6)).unwrap();
        }
    }
}

#[test]
fn images_of_one_patch_are_taken() {
    let model = Model::embedded(&Device::cpu(), Precision::F32).unwrap();
    let (one, two) =
        (model.encode(&picture("dot", 16, 16)).unwrap(), model.encode(&picture("dash", 16, 48)).unwrap());
    let both = model.decode_both(&one, &two).unwrap();
    assert_eq!(
        (both.out11.points.shape(), both.out21.points.shape()),
        (&[1, 16, 16, 3][..], &[1, 16, 48, 3][..])
    );
    for output in [both.out11, both.out21, both.out22, both.out12] {
        assert!(output.points.read::<f32>().unwrap().iter().all(|v| v.is_finite()));
        assert!(output.confidence.read::<f32>().unwrap().iter().all(|&v| v >= 1.0));
        let descriptors = output.descriptors.unwrap().read::<f32>().unwrap();
        let norms = descriptors.chunks_exact(24).map(|d| d.iter().map(|v| v * v).sum::<f32>());
        assert!(norms.into_iter().all(|norm| (norm - 1.0).abs() < 1e-5));
    }
}

#[test]
fn images_that_do_not_fit_are_refused_in_one_line() {
    let model = Model::embedded(&Device::cpu(), Precision::F32).unwrap();
    let bad =
        |shape: &[usize]| model.encode(&Tensor::zeros::<f32>(&Device::cpu(), shape)).unwrap_err().to_string();
    for shape in
        [&[1, 33, 48, 3][..], &[1, 32, 40, 3], &[1, 0, 48, 3], &[0, 32, 48, 3], &[1, 32, 48, 4], &[32, 48, 3]]
    {
        let want = format!(
            "encode: `image` must be [batch, height, width, 3] with sides that are multiples of 16, got {shape:?}"
        );
        assert_eq!(bad(shape), want);
    }
    let bytes = Tensor::zeros::<u8>(&Device::cpu(), &[1, 32, 48, 3]);
    assert!(model.encode(&bytes).unwrap_err().to_string().contains("must hold f32, got u8"));
    let one = model.encode(&picture("x", 32, 32)).unwrap();
    let two = model.encode(&Tensor::zeros::<f32>(&Device::cpu(), &[2, 32, 32, 3])).unwrap();
    let error = model.decode(&one, &two).unwrap_err().to_string();
    assert_eq!(error, "decode: `view2` must be 1 images as view1, got 2");
    assert!(model.decode_both(&one, &two).is_err());
}
