//! The network at work: each frame is encoded once, and looked at alone and beside a keyframe.

use crate::{Look, Match, WatchError};
use image::RgbImage;
use std::path::Path;
use steropes_models::engine::{EncodedImage, Engine, EngineConfig, Image, Orders};
use steropes_models::{KnownModel, Model};
use steropes_scene::photo::{InputFormat, Orientation, PixelMap};

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

impl Network {
    /// Loads the network of `settings`.
    ///
    /// # Errors
    /// [`WatchError::Model`], and [`WatchError::RandomWeights`] if norms have the values that they start with in training.
    pub fn open(settings: EngineConfig) -> Result<Self, WatchError> {
        let config = settings.network()?;
        let patch = u32::try_from(config.patch_size).expect("a patch is small");
        let format = InputFormat { preset: settings.image_size, patch, square_ok: config.square_ok };
        let verified = KnownModel::find(&settings.model).is_some_and(KnownModel::is_embedded);
        let engine = Engine::open(settings)?;
        Ok(Self { engine, format, key: None, verified })
    }

    /// Whether the weights are those that they should be: the built-in network, whose hash is known.
    pub fn verified(&self) -> bool {
        self.verified
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
