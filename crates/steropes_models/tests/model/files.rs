//! Model files that tests make, change and damage.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::PathBuf;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs;

/// A stored tensor.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensors of a weight file by name.
#[derive(Clone)]
pub(crate) struct WeightFile(pub(crate) BTreeMap<String, Stored>);

impl WeightFile {
    /// The weights of the smallest network of the family: linear heads, one block each, patches of 4 pixels.
    pub(crate) fn smallest() -> Self {
        let mut file = Self(BTreeMap::new());
        file.layer("patch_embed.proj", &[8, 3, 4, 4]);
        file.norms("enc_blocks.0", &["norm1", "norm2"]);
        file.layer("enc_blocks.0.attn.qkv", &[24, 8]);
        file.layer("enc_blocks.0.attn.proj", &[8, 8]);
        file.layer("enc_blocks.0.mlp.fc1", &[32, 8]);
        file.layer("enc_blocks.0.mlp.fc2", &[8, 32]);
        file.norms("", &["enc_norm", "dec_norm"]);
        file.layer("decoder_embed", &[8, 8]);
        for stack in ["dec_blocks.0", "dec_blocks2.0"] {
            file.norms(stack, &["norm1", "norm2", "norm3", "norm_y"]);
            file.layer(&format!("{stack}.attn.qkv"), &[24, 8]);
            file.layer(&format!("{stack}.attn.proj"), &[8, 8]);
            for part in ["projq", "projk", "projv", "proj"] {
                file.layer(&format!("{stack}.cross_attn.{part}"), &[8, 8]);
            }
            file.layer(&format!("{stack}.mlp.fc1"), &[32, 8]);
            file.layer(&format!("{stack}.mlp.fc2"), &[8, 32]);
        }
        file.layer("downstream_head1.proj", &[64, 8]);
        file.layer("downstream_head2.proj", &[64, 8]);
        file
    }

    /// The configuration of [`WeightFile::smallest`].
    pub(crate) fn smallest_config() -> String {
        let args = "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_size=4, head_type='linear', \
                    enc_embed_dim=8, enc_depth=1, enc_num_heads=2, dec_embed_dim=8, dec_depth=1, dec_num_heads=1)";
        serde_json::json!({ "args": args }).to_string()
    }

    /// The weights that are built into the library.
    pub(crate) fn embedded() -> Self {
        let bytes = std::fs::read(embedded_folder().join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let stored = |view: TensorView<'_>| Stored {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        Self(tensors.tensors().into_iter().map(|(name, view)| (name, stored(view))).collect())
    }

    /// Adds f32 values made from the name.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize]) {
        let values = inputs::uniform(name, shape.iter().product());
        let bytes = values.iter().flat_map(|v| (0.3 * v).to_le_bytes()).collect();
        self.0.insert(name.to_owned(), Stored { dtype: Dtype::F32, shape: shape.to_vec(), bytes });
    }

    pub(crate) fn layer(&mut self, name: &str, shape: &[usize]) {
        self.add(&format!("{name}.weight"), shape);
        self.add(&format!("{name}.bias"), &shape[..1]);
    }

    pub(crate) fn norms(&mut self, parent: &str, names: &[&str]) {
        let dot = if parent.is_empty() { "" } else { "." };
        for name in names {
            self.add(&format!("{parent}{dot}{name}.weight"), &[8]);
            self.add(&format!("{parent}{dot}{name}.bias"), &[8]);
        }
    }

    /// The tensor `name`, to be changed.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut Stored {
        self.0.get_mut(name).unwrap()
    }

    /// The bytes of the safetensors file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let view = |t: &'_ Stored| (t.dtype, t.shape.clone());
        let views = self.0.iter().map(|(name, t)| {
            let (dtype, shape) = view(t);
            (name, TensorView::new(dtype, shape, &t.bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }
}

/// The folder of the embedded model in the repository.
pub(crate) fn embedded_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/steropes-tiny")
}

/// A normalised picture made from a name, `[1, height, width, 3]`.
pub(crate) fn picture(name: &str, height: usize, width: usize) -> Tensor {
    let values = inputs::uniform(name, 3 * height * width);
    Tensor::new(&Device::cpu(), &[1, height, width, 3], values).unwrap()
}
