//! The network at work: each frame is encoded once, and looked at alone and beside a keyframe.

use crate::{Look, Match, WatchError};
use image::RgbImage;
use std::path::Path;
use steropes_models::engine::{EncodedImage, Engine, EngineConfig, Image, MatchOptions, Orders};
use steropes_models::{Model, ModelError, Place};
use steropes_nn::{Checkpoint, Weights};
use steropes_scene::photo::{InputFormat, Orientation, PixelMap};
use steropes_tensor::Device;

/// Long side in pixels at which the network looks, if nothing else is asked for.
pub const IMAGE_SIZE: u32 = 320;

/// A network with the keyframe that it compares with.
#[derive(Debug)]
pub struct Network {
    engine: Engine,
    format: InputFormat,
    key: Option<Key>,
    verified: bool,
}

/// A frame that was encoded, to become the keyframe perhaps.
#[derive(Clone, Debug)]
pub struct Key {
    encoded: EncodedImage,
    time: f64,
}

/// The settings that a watch starts from: small pictures, and matches on a grid that is fine enough for things of a few pixels.
pub fn watch_settings() -> EngineConfig {
    let matching = MatchOptions { top_k: 600, reciprocal: true, threshold: 0.5, subsample: 6 };
    EngineConfig { image_size: IMAGE_SIZE, matching, ..EngineConfig::default() }
}

impl Network {
    /// Loads the network of `settings`.
    ///
    /// # Errors
    /// [`WatchError::Model`], and [`WatchError::RandomWeights`] if norms have the values that they start with in training.
    pub fn open(settings: EngineConfig) -> Result<Self, WatchError> {
        let config = settings.network()?;
        let patch = u32::try_from(config.patch_size).expect("a patch is small");
        let format = InputFormat { preset: settings.image_size, patch, square_ok: config.square_ok };
        let place = settings.place()?;
        if let Place::Path(path, _) = &place {
            refuse_random(path)?;
        }
        let verified = place == Place::Embedded;
        let engine = Engine::open(settings)?;
        Ok(Self { engine, format, key: None, verified })
    }

    /// Whether the weights are those that they should be: the built-in network, whose hash is known.
    pub fn verified(&self) -> bool {
        self.verified
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        self.engine.device()
    }

    /// Name of the network.
    pub fn name(&self) -> &str {
        self.engine.model().map_or("", |model: &Model| &model.info().name)
    }

    /// How frames of a size are brought to the network.
    ///
    /// # Errors
    /// [`WatchError::Text`] if they are too narrow.
    pub fn map(&self, size: [u32; 2]) -> Result<PixelMap, WatchError> {
        PixelMap::new(Path::new("frame"), size, Orientation::NoTransforms, &self.format)
            .map_err(|error| WatchError::Text { file: "frame".to_owned(), problem: error.to_string() })
    }

    /// Runs the kernels once, so that the first frame takes no longer than others.
    ///
    /// # Errors
    /// [`WatchError::Model`].
    pub fn warm_up(&self) -> Result<(), WatchError> {
        self.engine.warm_up(1)?;
        Ok(())
    }

    /// What the network says about a frame taken at `time` seconds: its depth from the frame alone, matches from the frame and the keyframe.
    ///
    /// Depth comes from the frame alone because in a pair whatever moves on its own is put where its motion fits a still scene.
    ///
    /// # Errors
    /// [`WatchError::Model`] if the device fails, [`WatchError::Text`] for too narrow frames.
    pub fn look(&self, frame: &RgbImage, time: f64) -> Result<(Look, Key), WatchError> {
        let map = self.map([frame.width(), frame.height()])?;
        let resized = self.format.resized(frame);
        let ([x, y], [width, height]) = (map.crop_origin, map.network_size);
        let cropped = image::imageops::crop_imm(&resized, x, y, width, height).to_image();
        let image = Image::new([height as usize, width as usize], cropped.into_raw())?;
        let encoded = self.engine.encode(&image)?;
        let mut pairs = vec![[&encoded, &encoded]];
        // A keyframe of another size would be another camera.
        let key = self.key.as_ref().filter(|key| key.encoded.size_px() == encoded.size_px());
        pairs.extend(key.map(|key| [&encoded, &key.encoded]));
        let results = self.engine.decode(&pairs, Orders::Given)?;
        let read = |tensor: &steropes_tensor::Tensor| {
            tensor.read::<f32>().map_err(|error| WatchError::Model(error.into()))
        };
        let mut look = Look {
            depth: read(&results[0].pts3d_1)?.chunks_exact(3).map(|p| p[2]).collect(),
            confidence: read(&results[0].conf_1)?,
            ..Look::default()
        };
        if let (Some(key), Some(result)) = (key, results.get(1)) {
            let found = self.engine.match_pair(result, &self.engine.config().matching)?;
            let pixel = |[x, y]: [u32; 2]| [f64::from(x), f64::from(y)];
            look.matches = (0..found.len())
                .map(|m| Match {
                    current: pixel(found.pixels_1[m]),
                    key: pixel(found.pixels_2[m]),
                    confidence: f64::from(found.confidence[m]),
                })
                .collect();
            look.interval = time - key.time;
        }
        Ok((look, Key { encoded, time }))
    }

    /// From now on frames are compared with this one.
    pub fn keep(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// Forgets the keyframe.
    pub fn forget(&mut self) {
        self.key = None;
    }
}

/// Whether the final norms of a weight file are as training begins with them, gains of 1 and shifts of 0: nobody has trained it then.
fn refuse_random(path: &Path) -> Result<(), WatchError> {
    let checkpoint = Checkpoint::open(path).map_err(ModelError::from)?;
    let norms: Vec<&str> = checkpoint.names().filter_map(|name| name.strip_suffix("norm.weight")).collect();
    let mut begun = 0;
    for norm in &norms {
        let weights = Weights::new(&checkpoint, &Device::Cpu);
        let all = |name: String, wanted: f32| -> Result<bool, WatchError> {
            let [width] = weights.shape::<1>(&name).map_err(ModelError::from)?;
            let values = weights.values(&name, &[width]).map_err(ModelError::from)?;
            Ok(values.iter().all(|v| *v == wanted))
        };
        let has_shift = weights.has(&format!("{norm}norm.bias"));
        let begins =
            all(format!("{norm}norm.weight"), 1.0)? && (!has_shift || all(format!("{norm}norm.bias"), 0.0)?);
        begun += usize::from(begins);
    }
    if begun == norms.len() && begun > 0 {
        let why = format!("all {begun} final norms have gains of 1 and shifts of 0");
        return Err(WatchError::RandomWeights { model: path.display().to_string(), why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A weight file with one final norm of these gains and shifts.
    fn file(folder: &Path, gain: f32, shift: f32) -> std::path::PathBuf {
        let bytes = |value: f32| value.to_le_bytes().repeat(4);
        let header = r#"{"dec_norm.bias":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"dec_norm.weight":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend(bytes(shift));
        file.extend(bytes(gain));
        let place = folder.join(format!("{gain}_{shift}.safetensors"));
        std::fs::write(&place, file).unwrap();
        place
    }

    #[test]
    fn weights_that_nobody_trained_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |gain, shift| refuse_random(&file(folder.path(), gain, shift));
        let error = check(1.0, 0.0).unwrap_err().to_string();
        assert!(error.contains("look random") && !error.contains('\n'), "{error}");
        check(1.0, 0.01).unwrap();
        check(0.99, 0.0).unwrap();
    }
}
