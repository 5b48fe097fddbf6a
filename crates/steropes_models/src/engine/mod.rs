//! An engine: a network with its settings, threads and device, for programs that look at many images.
//!
//! [`Engine::encode`] runs the encoder once for an image, [`Engine::decode`] takes any pairs of encoded images. [`Engine::sequence`] and
//! [`Engine::pairs`] do both for many images and hold no more of them than the next pairs need. What comes back stays on the device
//! until it is read.
//!
//! ```
//! use steropes_models::engine::{Engine, EngineConfig, Image};
//!
//! # fn main() -> Result<(), steropes_models::ModelError> {
//! let config = EngineConfig { device: Some("cpu".to_owned()), threads: Some(2), ..EngineConfig::default() };
//! let engine = Engine::open(config)?;
//! let frames = (0..3u8).map(|i| Image::new([48, 64], vec![40 * i; 3 * 48 * 64]).expect("three bytes per pixel"));
//! for pair in engine.sequence(frames) {
//!     let pair = pair?;
//!     let matches = engine.match_pair(&pair, &engine.config().matching)?;
//!     println!("{} matches, depth of the first pixel {}", matches.len(), pair.pts3d_1.read::<f32>()?[2]);
//! }
//! assert_eq!(engine.encoder_runs(), 3);
//! # Ok(())
//! # }
//! ```

mod bench;
mod config;
mod image;
mod matches;
mod pairs;
mod presets;
mod result;

pub use bench::benches;
pub use config::{EngineConfig, MatchOptions, parse_bytes};
pub use image::{Image, normalised};
pub use matches::PairMatches;
pub use pairs::{Pairs, Sequence};
pub use presets::{PRESETS, Preset};
pub use result::{EncodedImage, PairResult, Timings};

use crate::{Encoded, Model, ModelError, ViewOutput};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use steropes_nn::WeightType;
use steropes_ops::OpError;
use steropes_ops::cpu::Isa;
use steropes_tensor::{Device, DeviceError};

/// Images or pairs at once on a GPU, if the settings do not say.
const GPU_BATCH: usize = 8;

/// In which orders pairs are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    /// Each pair as it is given.
    Given,
    /// Each pair as it is given, and then exchanged: two results for a pair. What both have in common is computed once, as
    /// [`Model::decode_both`] does.
    Both,
}

/// A network with its settings, threads and device. Handles and results outlive it.
///
/// All methods take `&self` and may be called from several threads at once, but for [`Engine::load`] and [`Engine::release`].
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    device: Device,
    threads: Option<ThreadPool>,
    model: Option<Model>,
    encoder_runs: AtomicU64,
}

/// What an engine runs on and how much it holds; see [`Engine::context_info`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextInfo {
    /// Name of the device.
    pub device: String,
    /// `Vulkan`, `Metal` or `DX12`, or the instruction set of the CPU.
    pub backend: String,
    /// Name of the network; `None` if none is loaded.
    pub model: Option<String>,
    /// Element type of its weights.
    pub precision: Option<WeightType>,
    /// Threads that CPU work of the engine runs on.
    pub threads: usize,
    /// Bytes of weights, about: their number times the bytes of one.
    pub weight_bytes: u64,
    /// Bytes that tensors use on the GPU, results that the caller holds included; `None` on the CPU, where they are not counted.
    pub memory_in_use: Option<u64>,
    /// Bytes that the GPU's pool holds for reuse.
    pub pool_bytes: Option<u64>,
    /// Most bytes that tensors used on the GPU at once so far.
    pub peak_memory: Option<u64>,
    /// Most bytes that tensors may use on the GPU, as the settings say.
    pub memory_budget: Option<u64>,
    /// Bytes that are enough for the weights and a batch of pairs of the largest images that the settings allow: what a budget should be at
    /// least, or the free memory of the CPU. 0 if no network is loaded.
    pub recommended_budget: u64,
}

impl Engine {
    /// An engine that holds its device and its threads, but no network yet.
    ///
    /// # Errors
    /// [`ModelError::Setting`], [`ModelError::Device`] if there is no such device, or [`ModelError::Threads`].
    pub fn new(config: EngineConfig) -> Result<Self, ModelError> {
        let device = Device::select(config.device.as_deref().unwrap_or("auto"))?;
        Self::on(device, config)
    }

    fn on(device: Device, config: EngineConfig) -> Result<Self, ModelError> {
        config.check()?;
        match device.gpu() {
            _ if config.memory.is_none() => {}
            Some(gpu) => gpu.set_memory_budget(config.memory),
            None => log::warn!("a memory budget is for GPUs; this runs on the CPU"),
        }
        let pool = |count| {
            ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("engine-{i}")).build()
        };
        let threads = config.threads.map(pool).transpose()?;
        Ok(Self { config, device, threads, model: None, encoder_runs: AtomicU64::new(0) })
    }

    /// An engine with its network loaded.
    ///
    /// # Errors
    /// As [`Engine::new`] and [`Engine::load`].
    pub fn open(config: EngineConfig) -> Result<Self, ModelError> {
        let mut engine = Self::new(config)?;
        engine.load()?;
        Ok(engine)
    }

    /// An engine with a network that is loaded already, on its device; after [`Engine::release`] that of the settings would be loaded.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_model(config: EngineConfig, model: Model) -> Result<Self, ModelError> {
        let mut engine = Self::on(model.device().clone(), config)?;
        engine.model = Some(model);
        Ok(engine)
    }

    /// Loads the network, if it is not loaded.
    ///
    /// # Errors
    /// As [`crate::locate`] and [`Model::open`].
    pub fn load(&mut self) -> Result<(), ModelError> {
        if self.model.is_none() {
            let place = self.config.place()?;
            self.model = Some(self.install(|| place.open(&self.device, self.config.precision))?);
        }
        Ok(())
    }

    /// Frees the network and the memory that is held for reuse. Results and encoded images that the caller holds stay as they are, and
    /// [`Engine::load`] brings the network back.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device fails in the work that was under way; everything is freed then, too.
    pub fn release(&mut self) -> Result<(), ModelError> {
        self.model = None;
        let Some(gpu) = self.device.gpu() else { return Ok(()) };
        let done = gpu.sync();
        gpu.trim_memory();
        Ok(done?)
    }

    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network.
    ///
    /// # Errors
    /// [`ModelError::NotLoaded`].
    pub fn model(&self) -> Result<&Model, ModelError> {
        self.model.as_ref().ok_or(ModelError::NotLoaded)
    }

    /// Images that were encoded so far, those of [`Engine::warm_up`] included.
    pub fn encoder_runs(&self) -> u64 {
        self.encoder_runs.load(Ordering::Relaxed)
    }

    /// Runs `work` on the engine's threads, so that what it does in parallel stays on them; in place if the settings give no number of threads.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.threads {
            Some(threads) => threads.install(work),
            None => work(),
        }
    }

    /// Looks `rounds` times at a batch of grey pairs of the largest size, so that kernels are compiled and memory is there before the first
    /// images come; the time of the last round.
    ///
    /// # Errors
    /// As [`Engine::infer`].
    pub fn warm_up(&self, rounds: usize) -> Result<Duration, ModelError> {
        let patch = self.model()?.info().patch_size;
        let long = self.config.image_size as usize;
        let size = [long * 3 / 4, long].map(|side| (side / patch).max(1) * patch);
        let grey = Image::new(size, vec![128; 3 * size[0] * size[1]])?;
        let images = vec![&grey; self.batch_size()];
        let mut last = Duration::ZERO;
        for _ in 0..rounds {
            let start = Instant::now();
            let encoded = self.encode_all(&images)?;
            let pairs: Vec<_> = encoded.iter().map(|image| [image, image]).collect();
            let results = self.decode(&pairs, Orders::Given)?;
            self.match_pair_if_described(&results[0])?;
            self.sync()?;
            last = start.elapsed();
        }
        Ok(last)
    }

    fn match_pair_if_described(&self, result: &PairResult) -> Result<(), ModelError> {
        match self.match_pair(result, &self.config.matching) {
            Err(ModelError::NoDescriptors { .. }) => Ok(()),
            matched => matched.map(|_| ()),
        }
    }

    /// Encodes an image, for as many pairs as one likes.
    ///
    /// # Errors
    /// [`ModelError::NotLoaded`], [`ModelError::Input`] if a side is no multiple of the patch size or above
    /// [`EngineConfig::image_size`], [`ModelError::Device`].
    pub fn encode(&self, image: &Image) -> Result<EncodedImage, ModelError> {
        Ok(self.encode_all(&[image])?.remove(0))
    }

    /// Encodes images, those of one size together, as many at once as [`EngineConfig::batch_size`] says; in the order given.
    ///
    /// # Errors
    /// As [`Engine::encode`].
    pub fn encode_all(&self, images: &[&Image]) -> Result<Vec<EncodedImage>, ModelError> {
        let model = self.model()?;
        for image in images {
            self.check_size(image)?;
        }
        let mut encoded: Vec<Option<EncodedImage>> = vec![None; images.len()];
        for some in self.batches(images.iter().map(|image| image.size_px())) {
            let batch: Vec<&Image> = some.iter().map(|&i| images[i]).collect();
            for (i, image) in some.into_iter().zip(self.install(|| self.encode_batch(model, &batch))?) {
                encoded[i] = Some(image);
            }
        }
        Ok(encoded.into_iter().map(|image| image.expect("every image is in a batch")).collect())
    }

    fn encode_batch(&self, model: &Model, images: &[&Image]) -> Result<Vec<EncodedImage>, ModelError> {
        let [height, width] = images[0].size_px();
        let share = 1.0 / images.len() as f64;
        let start = Instant::now();
        let values = images.iter().flat_map(|image| image.normalised()).collect();
        let tensor = model.image([images.len(), height, width, 3], values)?;
        self.sync_if_timed()?;
        let preprocess = start.elapsed().mul_f64(share);
        let start = Instant::now();
        let encoded = model.encode(&tensor)?;
        self.sync_if_timed()?;
        let encode = start.elapsed().mul_f64(share);
        self.encoder_runs.fetch_add(images.len() as u64, Ordering::Relaxed);
        let parts = if images.len() == 1 { vec![encoded] } else { encoded.split(1)? };
        Ok(parts.into_iter().map(|encoded| EncodedImage { encoded, preprocess, encode }).collect())
    }

    fn check_size(&self, image: &Image) -> Result<(), ModelError> {
        let (most, size) = (self.config.image_size as usize, image.size_px());
        if size.iter().all(|&side| side <= most) {
            return Ok(());
        }
        let expected = format!("at most {most} pixels a side, as `image_size` says");
        Err(OpError::value("encode", "image", expected, format!("{} x {}", size[1], size[0])).into())
    }

    /// What the network says about pairs of encoded images, as many at once as [`EngineConfig::batch_size`] says; in the order given, with
    /// [`Orders::Both`] two for each pair. Timings are those of decoding alone.
    ///
    /// # Errors
    /// [`ModelError::NotLoaded`], [`ModelError::Input`] if an image was encoded by another model, [`ModelError::Device`].
    pub fn decode(
        &self,
        pairs: &[[&EncodedImage; 2]],
        orders: Orders,
    ) -> Result<Vec<PairResult>, ModelError> {
        let model = self.model()?;
        let mut results: Vec<Vec<PairResult>> = vec![Vec::new(); pairs.len()];
        for some in self.batches(pairs.iter().map(|pair| pair.map(|image| image.encoded.size_px()))) {
            let batch: Vec<_> = some.iter().map(|&i| pairs[i]).collect();
            for (i, result) in
                some.into_iter().zip(self.install(|| self.decode_batch(model, &batch, orders))?)
            {
                results[i] = result;
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// The results of pairs of one pair of sizes, one or two for each.
    fn decode_batch(
        &self,
        model: &Model,
        pairs: &[[&EncodedImage; 2]],
        orders: Orders,
    ) -> Result<Vec<Vec<PairResult>>, ModelError> {
        let start = Instant::now();
        let side = |side: usize| {
            let images: Vec<&Encoded> = pairs.iter().map(|pair| &pair[side].encoded).collect();
            Encoded::stack(&images)
        };
        let (first, second) = (side(0)?, side(1)?);
        let views: Vec<[ViewOutput; 2]> = match orders {
            Orders::Given => vec![model.decode(&first, &second)?.into()],
            Orders::Both => {
                let both = model.decode_both(&first, &second)?;
                vec![[both.out11, both.out21], [both.out22, both.out12]]
            }
        };
        let results = (0..pairs.len()).map(|i| views.iter().map(|views| PairResult::of(views, i)).collect());
        let mut results = results.collect::<Result<Vec<Vec<_>>, ModelError>>()?;
        self.sync_if_timed()?;
        let decode = start.elapsed().div_f64((pairs.len() * views.len()) as f64);
        results.iter_mut().flatten().for_each(|result| result.timings.decode = decode);
        Ok(results)
    }

    /// What the network says about a pair: points of both in the frame of the first camera.
    ///
    /// # Errors
    /// As [`Engine::encode`] and [`Engine::decode`].
    pub fn infer(&self, first: &Image, second: &Image) -> Result<PairResult, ModelError> {
        let images = [self.encode(first)?, self.encode(second)?];
        let mut result = self.decode(&[[&images[0], &images[1]]], Orders::Given)?.remove(0);
        images.iter().for_each(|image| result.timings.add(image));
        Ok(result)
    }

    /// [`Engine::infer`] and then [`Engine::match_pair`] with the options of the settings.
    ///
    /// # Errors
    /// As both.
    pub fn infer_and_match(
        &self,
        first: &Image,
        second: &Image,
    ) -> Result<(PairResult, PairMatches), ModelError> {
        let result = self.infer(first, second)?;
        let matches = self.match_pair(&result, &self.config.matching)?;
        Ok((result, matches))
    }

    /// Matching pixels of a pair, those with the highest confidence first.
    ///
    /// Pixels of the first image are compared with all of the second, by the dot product of their descriptors; the similarities are never
    /// stored together, so memory grows with the number of pixels only. On a GPU only the matches are read.
    ///
    /// # Errors
    /// [`ModelError::Setting`] if an option is out of its range, [`ModelError::NoDescriptors`] for a network without any,
    /// [`ModelError::Device`].
    pub fn match_pair(&self, result: &PairResult, options: &MatchOptions) -> Result<PairMatches, ModelError> {
        options.check()?;
        let described = result.described().ok_or_else(|| ModelError::NoDescriptors {
            model: self.model.as_ref().map_or_else(|| self.config.model.clone(), |m| m.info().name.clone()),
        })?;
        Ok(self.install(|| matches::match_pair(result, &described, options))?)
    }

    /// The results of images in a row: of the first and the second, the second and the third, and so on. N images are encoded once each and
    /// give N - 1 pairs.
    ///
    /// Images are taken from the iterator when their pairs are asked for, as many as a batch needs, and dropped once they are encoded; one
    /// encoded image is kept for the next pair. On a GPU the work is recorded and not waited for, so it runs while the next images are
    /// brought here and results are read. The sequence ends after an error.
    pub fn sequence<I: IntoIterator<Item = Image>>(&self, images: I) -> Sequence<'_, I::IntoIter> {
        Sequence::new(self, images.into_iter())
    }

    /// The results of any pairs of `images`, in the order of `list` (with [`Orders::Both`] two for each pair). Each image is encoded once,
    /// when its first pair comes, and dropped after its last. Pairs are decoded in batches, so pairs of one size should follow one another.
    /// The iterator ends after an error.
    ///
    /// # Errors
    /// [`ModelError::Input`] if a pair names an image that is not there.
    pub fn pairs<'a>(
        &'a self,
        images: &'a [Image],
        list: &'a [[usize; 2]],
        orders: Orders,
    ) -> Result<Pairs<'a>, ModelError> {
        Pairs::new(self, images, list, orders)
    }

    /// What the engine runs on and how much it holds.
    pub fn context_info(&self) -> ContextInfo {
        let gpu = self.device.gpu();
        let [in_use, held] = gpu.map_or([None; 2], |gpu| gpu.memory_in_use().map(Some));
        let model = self.model.as_ref();
        let weight_bytes = model.map_or(0, |m| m.precision().bytes(m.info().parameters));
        let pixels = 2 * self.batch_size() as u64 * u64::from(self.config.image_size).pow(2);
        let batch = model.map_or(0, |m| pixels * bytes_per_pixel(m));
        ContextInfo {
            device: self.device.name().to_owned(),
            backend: gpu
                .map_or_else(|| Isa::current().name().to_owned(), |gpu| gpu.capabilities().api.to_string()),
            model: model.map(|m| m.info().name.clone()),
            precision: model.map(Model::precision),
            threads: self.install(rayon::current_num_threads),
            weight_bytes,
            memory_in_use: in_use,
            pool_bytes: held,
            peak_memory: gpu.map(|gpu| gpu.peak_memory()),
            memory_budget: gpu.and(self.config.memory),
            recommended_budget: weight_bytes + weight_bytes / 8 + batch,
        }
    }

    /// Images or pairs that the network takes at once.
    fn batch_size(&self) -> usize {
        self.config.batch_size.unwrap_or(if self.device.gpu().is_some() { GPU_BATCH } else { 1 })
    }

    /// The numbers of things of one kind together, at most a batch of them at a time, in their order.
    fn batches<K: Ord>(&self, kinds: impl Iterator<Item = K>) -> Vec<Vec<usize>> {
        let mut alike: BTreeMap<K, Vec<usize>> = BTreeMap::new();
        for (i, kind) in kinds.enumerate() {
            alike.entry(kind).or_default().push(i);
        }
        let most = self.batch_size();
        alike.into_values().flat_map(|all| all.chunks(most).map(<[_]>::to_vec).collect::<Vec<_>>()).collect()
    }

    fn sync(&self) -> Result<(), DeviceError> {
        self.device.gpu().map_or(Ok(()), |gpu| gpu.sync())
    }

    fn sync_if_timed(&self) -> Result<(), DeviceError> {
        if self.config.exact_timings { self.sync() } else { Ok(()) }
    }
}

/// Bytes of tensors for a pixel of an image in a batch, beside the weights. Most are in the heads, whose widths grow with the decoder's: two
/// bytes a channel of it in f32 are half as much again as the built-in network used, and in f16 a little more than that for the ViT-L.
fn bytes_per_pixel(model: &Model) -> u64 {
    let in_f32 = 2 * model.config().decoder.width as u64;
    if model.precision() == WeightType::F16 { in_f32 / 2 } else { in_f32 }
}
