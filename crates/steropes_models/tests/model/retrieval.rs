//! Retrieval files, and the features that they give, against naive forms in f64.

use std::path::Path;
use steropes_models::ModelError;
use steropes_models::retrieval::{FeatureCount, LocalFeatures, Retrieval, Whitening};
use steropes_testkit::torch_file::{Pickle, archive};
use steropes_testkit::{Tolerance, check_close, inputs};

/// A tensor in f64, as it is stored.
type Stored = (&'static str, Vec<usize>, Vec<f64>);
/// A hyper-parameter: how it is pickled.
type Arg<'a> = (&'a str, &'a dyn Fn(Pickle) -> Pickle);

fn random(name: &'static str, shape: &[usize]) -> Stored {
    let values = inputs::normal(name, shape.iter().product());
    (name, shape.to_vec(), values.into_iter().map(f64::from).collect())
}

fn none(pickle: Pickle) -> Pickle {
    pickle.raw(b"N")
}

fn float(value: f64) -> impl Fn(Pickle) -> Pickle {
    move |pickle| pickle.raw(b"G").raw(&value.to_be_bytes())
}

/// A file of `torch.save` with f64 tensors and `args`.
fn write(path: &Path, tensors: &[Stored], args: &[Arg<'_>]) {
    let mut pickle =
        Pickle::default().raw(b"}(").text("args").global("argparse", "Namespace").raw(b")\x81}(");
    for (name, value) in args {
        pickle = value(pickle.text(name));
    }
    pickle = pickle.raw(b"ub").text("model").raw(b"}(");
    let mut entries = Vec::new();
    for (i, (name, shape, values)) in tensors.iter().enumerate() {
        let extents: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let strides: Vec<i64> = (1..=extents.len()).map(|axis| extents[axis..].iter().product()).collect();
        // Layers are f32 as they are in published files, whitenings f64.
        let is_wide = name.contains("whiten");
        let class = if is_wide { "DoubleStorage" } else { "FloatStorage" };
        pickle = pickle.text(name).tensor(class, &i.to_string(), values.len() as i64, 0, &extents, &strides);
        let bytes: Vec<u8> = match is_wide {
            true => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            false => values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
        };
        entries.push((format!("a/data/{i}"), bytes));
    }
    entries.push(("a/data.pkl".to_owned(), pickle.raw(b"uu").end()));
    std::fs::write(path, archive(&entries)).unwrap();
}

/// A codebook of `count` words of `width` values.
fn codebook(count: usize, width: usize) -> Vec<u8> {
    let data: Vec<u8> = inputs::normal("words", count * width).iter().flat_map(|v| v.to_le_bytes()).collect();
    let array = |pickle: Pickle| {
        let made =
            pickle.global("numpy._core.multiarray", "_reconstruct").raw(b"(").global("numpy", "ndarray");
        let made = made.ints(&[0]).raw(b"C\x01btR(").int(1).ints(&[count as i64, width as i64]);
        let dtype = made.global("numpy", "dtype").raw(b"(").text("f4").raw(b"\x89\x88tR(").int(3).text("<");
        let dtype = dtype.raw(b"NNN").int(-1).int(-1).int(0).raw(b"tb\x89");
        dtype.raw(b"B").raw(&(data.len() as u32).to_le_bytes()).raw(&data).raw(b"tb")
    };
    let pickle = Pickle::default().raw(b"}(").text("type").text("Codebook").text("params").raw(b"}");
    let pickle = pickle.text("size").int(count as i64).raw(b"s").text("state").raw(b"}").text("centroids");
    array(pickle).raw(b"su").end()
}

/// `(x - m) p` in f64.
fn whitened(rows: &[f64], m: &[f64], p: &[f64]) -> Vec<f64> {
    let (inputs, outputs) = (m.len(), p.len() / m.len());
    let value =
        |row: &[f64], o: usize| (0..inputs).map(|i| (row[i] - m[i]) * p[i * outputs + o]).sum::<f64>();
    rows.chunks(inputs).flat_map(|row| (0..outputs).map(move |o| value(row, o)).collect::<Vec<_>>()).collect()
}

/// `x Wᵀ + b` in f64.
fn layer(rows: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let value =
        |row: &[f64], o: usize| bias[o] + (0..inputs).map(|i| row[i] * weight[o * inputs + i]).sum::<f64>();
    rows.chunks(inputs).flat_map(|row| (0..bias.len()).map(|o| value(row, o)).collect::<Vec<_>>()).collect()
}

/// GELU of the norm of each row in f64, the error function by its series.
fn norm_gelu(rows: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let erf = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    rows.chunks(width)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            let normed =
                (0..width).map(move |i| (row[i] - mean) / (variance + 1e-5).sqrt() * weight[i] + bias[i]);
            normed.map(|v| v / 2.0 * (1.0 + erf(v / 2f64.sqrt()))).collect::<Vec<_>>()
        })
        .collect()
}

/// The `count` longest rows, those before `last`, then after it.
fn check(found: &LocalFeatures, rows: &[f64], width: usize, count: usize, last: impl Fn(&[f64]) -> Vec<f64>) {
    let length = |i: usize| rows[i * width..][..width].iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut order: Vec<usize> = (0..rows.len() / width).collect();
    order.sort_by(|&a, &b| length(b).total_cmp(&length(a)));
    order.truncate(count);
    assert_eq!(found.tokens, order);
    let wanted: Vec<f64> = order.iter().flat_map(|&i| last(&rows[i * width..][..width])).collect();
    check_close(&found.values, &wanted, Tolerance::OfLargest(2e-6)).unwrap();
    let lengths: Vec<f64> = order.iter().map(|&i| length(i)).collect();
    check_close(&found.attention, &lengths, Tolerance::OfLargest(2e-6)).unwrap();
    assert_eq!((found.len(), found.width), (count, wanted.len() / count));
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn a_training_free_file_whitens_and_selects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net_retrieval_trainingfree.pth");
    let tensors = [random("prewhiten.m", &[1, 12]), random("prewhiten.p", &[12, 12])];
    let tokens = inputs::normal("tokens", 40 * 12);
    let rows = whitened(&wide(&tokens), &tensors[0].2, &tensors[1].2);
    let text = |text: &'static str| move |pickle: Pickle| pickle.text(text);
    let int = |int: i64| move |pickle: Pickle| pickle.int(int);
    for (nfeat, count) in [
        (&int(7) as &dyn Fn(Pickle) -> Pickle, 7),
        (&int(300), 40),
        (&int(-1), 40),
        (&float(-0.33), 13),
        (&float(-0.001), 1),
        (&float(9.0), 9),
        (&none, 40),
    ] {
        write(
            &path,
            &tensors,
            &[
                ("hdims", &|p: Pickle| p.raw(b"]")),
                ("residual", &|p: Pickle| p.raw(b"\x89")),
                ("postwhiten", &none),
                ("featweights", &text("l2norm")),
                ("nfeat", nfeat),
                ("imsize", &int(512)),
                ("nclusters", &text("64k")),
                ("pretrained", &text("/somewhere/net.pth")),
            ],
        );
        let retrieval = Retrieval::open(&path).unwrap();
        check(&retrieval.features(&tokens).unwrap(), &rows, 12, count, <[f64]>::to_vec);
        let file = retrieval.file().unwrap();
        assert_eq!((file.image_size, file.words.is_none(), retrieval.width()), (Some(512), true, 12));
    }
    let error = Retrieval::open(&path).unwrap().features(&tokens[1..]).unwrap_err().to_string();
    assert!(error.contains("[tokens, 12]"), "{error}");
}

#[test]
fn layers_and_a_second_whitening_follow_if_the_file_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net_retrieval_trained.pth");
    let tensors = [
        random("prewhiten.m", &[1, 8]),
        random("prewhiten.p", &[8, 6]),
        random("projector.0.weight", &[10, 6]),
        random("projector.0.bias", &[10]),
        random("projector.1.weight", &[10]),
        random("projector.1.bias", &[10]),
        random("projector.3.weight", &[6, 10]),
        random("projector.3.bias", &[6]),
        random("postwhiten.m", &[1, 6]),
        random("postwhiten.p", &[6, 4]),
    ];
    let tokens = inputs::normal("tokens", 30 * 8);
    let t = |i: usize| &tensors[i].2[..];
    let rows = wide(&whitened(&wide(&tokens), t(0), t(1)).iter().map(|&v| v as f32).collect::<Vec<_>>());
    let hidden = norm_gelu(&layer(&rows, t(2), t(3)), t(4), t(5));
    let projected = layer(&hidden, t(6), t(7));
    for residual in [false, true] {
        let flag: &[u8] = if residual { b"\x88" } else { b"\x89" };
        let args: [Arg<'_>; 3] = [
            ("hdims", &|p: Pickle| p.raw(b"](").int(10).int(6).raw(b"e")),
            ("residual", &|p: Pickle| p.raw(flag)),
            ("nfeat", &|p: Pickle| p.int(11)),
        ];
        write(&path, &tensors, &args);
        let own: Vec<f64> =
            projected.iter().zip(&rows).map(|(y, x)| if residual { y + x } else { *y }).collect();
        let found = Retrieval::open(&path).unwrap();
        assert_eq!((found.inputs(), found.width()), (8, 4));
        check(&found.features(&tokens).unwrap(), &own, 6, 11, |row| whitened(row, t(8), t(9)));
    }
}

#[test]
fn the_codebook_lies_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let tensors = [random("prewhiten.m", &[1, 3]), random("prewhiten.p", &[3, 3])];
    let path = at("net_retrieval_trainingfree.pth");
    write(&path, &tensors, &[("nclusters", &|p: Pickle| p.int(4))]);
    let words = |path: &Path| Retrieval::open(path).unwrap().file().unwrap().words.clone();
    assert_eq!(words(&path), None);
    std::fs::write(at("codebook.pkl"), codebook(4, 3)).unwrap();
    assert_eq!(words(&path), Some((at("codebook.pkl"), inputs::normal("words", 12))));
    let place = at("net_retrieval_codebook.pkl");
    std::fs::write(&place, codebook(4, 3)).unwrap();
    assert_eq!(words(&path).unwrap().0, place);
    let refused = |bytes: Vec<u8>, text: &str| {
        std::fs::write(&place, bytes).unwrap();
        let error = Retrieval::open(&path).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("net_retrieval_codebook.pkl"), "{error}");
    };
    refused(codebook(5, 3), "it has 5 words, but `net_retrieval_trainingfree.pth` was made for 4");
    refused(codebook(4, 2), "its words have 2 values, but the features");
    let whole = codebook(4, 3);
    refused(whole[..whole.len() / 2].to_vec(), "no valid codebook");
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net_retrieval_trainingfree.pth");
    let good = [random("prewhiten.m", &[1, 3]), random("prewhiten.p", &[3, 3])];
    let refused = |tensors: &[Stored], args: &[Arg<'_>], text: &str| {
        write(&path, tensors, args);
        let error = Retrieval::open(&path).unwrap_err();
        assert!(matches!(error, ModelError::Load(_) | ModelError::Config { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(text) && error.contains("net_retrieval_trainingfree.pth"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    refused(&good[..1], &[], "`prewhiten.p` is missing");
    refused(&good[1..], &[], "`prewhiten.m` is missing");
    refused(&[random("prewhiten.m", &[1, 2]), good[1].clone()], &[], "`prewhiten.m` must have shape [1, 3]");
    refused(&[good[0].clone(), random("prewhiten.p", &[9])], &[], "with 2 extents");
    refused(&[good[0].clone(), ("prewhiten.p", vec![3, 3], vec![f64::NAN; 9])], &[], "finite");
    let more = |tensor: Stored| [good[0].clone(), good[1].clone(), tensor];
    refused(&more(random("other.weight", &[2])), &[], "`other.weight`");
    refused(&more(random("projector.0.weight", &[2, 3])), &[], "`projector.0.bias` is missing");
    refused(&more(random("postwhiten.p", &[3, 3])), &[], "`postwhiten.m` is missing");
    let int = |int: i64| move |pickle: Pickle| pickle.int(int);
    let args: [(Arg<'_>, &str); 9] = [
        (("nfeat", &int(0)), "`args.nfeat` must be at least 1"),
        (("nfeat", &int(-2)), "`args.nfeat` must be"),
        (("nfeat", &float(-1.5)), "`args.nfeat` must be"),
        (("nfeat", &float(f64::NAN)), "`args.nfeat` must be"),
        (("featweights", &|p: Pickle| p.text("softmax")), "`args.featweights` must be `l2norm`"),
        (("hdims", &|p: Pickle| p.text("16_8")), "`args.hdims` is [16, 8], but its layers have []"),
        (("residual", &int(1)), "`args.residual` must be True or False"),
        (("imsize", &|p: Pickle| p.text("large")), "`args.imsize` must be"),
        (("nclusters", &|p: Pickle| p.text("64q")), "`args.nclusters` must be"),
    ];
    for (arg, text) in args {
        refused(&good, &[arg], text);
    }
    let error = Retrieval::open(&folder.path().join("missing.pth")).unwrap_err().to_string();
    assert!(error.contains("missing.pth"), "{error}");
}

/// Whitened rows have no mean, and every direction the same spread.
#[test]
fn a_learnt_whitening_whitens() {
    let (count, width) = (600, 9);
    let mixing = inputs::normal("mixing", width * width);
    let free = inputs::normal("free", count * width);
    let mut rows = Vec::new();
    for row in free.chunks(width) {
        // The last column is twice the first: one direction less.
        let mut mixed: Vec<f32> = (0..width)
            .map(|o| 3.0 + (0..width).map(|i| row[i] * mixing[i * width + o]).sum::<f32>())
            .collect();
        mixed[width - 1] = 2.0 * mixed[0];
        rows.extend(mixed);
    }
    let whitening = Whitening::learn(&rows, width, 100);
    assert_eq!((whitening.inputs(), whitening.outputs()), (width, width - 1));
    let white = wide(&whitening.apply(&rows));
    let column = |c: usize| white.iter().skip(c).step_by(width - 1).copied().collect::<Vec<_>>();
    for a in 0..width - 1 {
        assert!((column(a).iter().sum::<f64>() / count as f64).abs() < 1e-5);
        for b in 0..width - 1 {
            let moment = column(a).iter().zip(column(b)).map(|(x, y)| x * y).sum::<f64>() / count as f64;
            assert!((moment - f64::from(a == b)).abs() < 1e-4, "{a} {b}: {moment}");
        }
    }
    assert_eq!(Whitening::learn(&rows, width, 3).apply(&rows).len(), 3 * count);
    // Rows that are all the same have no direction.
    assert_eq!(Whitening::learn(&[1.0; 20], 5, 3).apply(&[1.0, 1.0, 1.0, 1.0, 5.0]), [0.0]);
    assert_eq!(FeatureCount::AtMost(3).of(2), 2);
}
