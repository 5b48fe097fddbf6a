//! Maps in parts that fit bindings, the table of matrices, and launches.

use super::{DepthMaps, OP, REFINE, SAME, Samples, View, cameras, starts};
use crate::error::OpError;
use crate::geometry::uploaded;
use crate::gpu::{largest_binding, row_ranges, unsupported, window};
use std::ops::Range;
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, Memory, Tensor, spread};

const THREADS: u32 = 64;
/// Candidates in registers.
const BLOCK: u32 = 4;
/// Projections in a launch: a few milliseconds, so that a screen can be drawn in between.
const PROJECTIONS: usize = 1 << 28;
/// Bytes of an average of distances, and of a choice among candidates.
const STATE: usize = 12;
/// The most bytes of averages that wait for further maps.
const WAITING: usize = 64 << 20;
/// Bytes of an entry of the table.
const ENTRY: usize = 64;

pub(super) fn tsdf(
    gpu: &Gpu,
    maps: &DepthMaps<'_>,
    points: &Tensor,
    threshold: f32,
) -> Result<(Tensor, Tensor), OpError> {
    let kernel = Kernel::new("tsdf", &header(), include_str!("tsdf.wgsl"));
    let parts = map_parts(OP, gpu, maps.views)?;
    let table = table(gpu, &[&parts], maps.views, |_, view| cameras::pixel_from_world(view))?;
    let count = points.len() / 3;
    let values = Tensor::on_gpu(gpu, OP, DType::F32, &[count])?;
    let seen = Tensor::on_gpu(gpu, OP, DType::U32, &[count])?;
    for rows in row_ranges(OP, gpu, count, &[STATE])? {
        let averages = waiting(gpu, OP, &parts, rows.len())?;
        let from = window(points, 12, &rows);
        let to = [&values, &seen].map(|t| window(t, 4, &rows));
        for (p, part) in parts.iter().enumerate() {
            let entries = window(&table, ENTRY, &part.entries);
            let [depth, confidence] = [maps.depth, maps.confidence].map(|t| window(t, 4, &part.pixels));
            let counts =
                [rows.len(), part.entries.len(), usize::from(p == 0), usize::from(p + 1 == parts.len())];
            let shifts = [entries.shift(ENTRY), from.shift(4), to[0].shift(4), threshold.to_bits()];
            let bindings = [
                entries.binding,
                depth.binding,
                confidence.binding,
                from.binding,
                to[0].binding,
                to[1].binding,
                (&averages).into(),
            ];
            let params = [counts.map(|n| n as u32), shifts].concat();
            gpu.launch(&kernel, &bindings, &params, spread(rows.len().div_ceil(THREADS as usize) as u64))?;
        }
    }
    Ok((values, seen))
}

pub(super) fn refine_depth(
    gpu: &Gpu,
    maps: &DepthMaps<'_>,
    samples: Samples<'_>,
    threshold: f32,
) -> Result<Tensor, OpError> {
    let header = header().count("BLOCK", BLOCK).number("SAME", SAME);
    let (header, seed) = match samples {
        Samples::Random { seed, .. } => (header.text(include_str!("numbers_random.wgsl")), seed),
        Samples::Given(_) => (header.text(include_str!("numbers_given.wgsl")), 0),
    };
    let kernel = Kernel::new("tsdf_refine_depth", &header, include_str!("refine_depth.wgsl"));
    let parts = map_parts(REFINE, gpu, maps.views)?;
    // From the rays of each map to the pixels of all maps.
    let sources = vec![parts.as_slice(); maps.views.len()];
    let table =
        table(gpu, &sources, maps.views, |source, view| cameras::pixel_from_ray(view, &maps.views[source]))?;
    let entries = table.len() * size_of::<u32>() / ENTRY / maps.views.len();
    let refined = Tensor::on_gpu(gpu, REFINE, DType::F32, maps.depth.shape())?;
    let tiles = Tiles::new(REFINE, gpu, &samples, &parts)?;
    let averages = waiting(gpu, REFINE, &parts, tiles.pixels * tiles.samples)?;
    let choices = waiting(gpu, REFINE, &parts, tiles.pixels)?;
    for (v, (view, start)) in maps.views.iter().zip(starts(maps.views)).enumerate() {
        for (pixels, candidates, p) in tiles.launches(view.pixels(), samples.count(), parts.len()) {
            let part = &parts[p];
            let rows = start + pixels.start..start + pixels.end;
            let own = v * entries + part.entries.start..v * entries + part.entries.end;
            let own = window(&table, ENTRY, &own);
            let [depth, confidence] = [maps.depth, maps.confidence].map(|t| window(t, 4, &part.pixels));
            let [old, new] = [maps.depth, &refined].map(|t| window(t, 4, &rows));
            let mut bindings = vec![
                own.binding,
                depth.binding,
                confidence.binding,
                old.binding,
                new.binding,
                (&averages).into(),
                (&choices).into(),
            ];
            let shifts = [own.shift(ENTRY), old.shift(4)];
            let mut numbers_shift = 0;
            if let Samples::Given(numbers) = samples {
                let numbers = window(numbers, 4 * samples.count(), &rows);
                numbers_shift = numbers.shift(4);
                bindings.push(numbers.binding);
            }
            let counts = [
                part.entries.len(),
                start,
                view.width,
                pixels.start,
                pixels.len(),
                samples.count(),
                candidates.start,
                candidates.end,
                usize::from(p == 0),
                usize::from(p + 1 == parts.len()),
            ];
            let counts = counts.map(|n| n as u32);
            let params = [counts.as_slice(), &shifts, &[numbers_shift, seed, threshold.to_bits()]].concat();
            let groups = spread(pixels.len().div_ceil(THREADS as usize) as u64);
            gpu.launch(&kernel, &bindings, &params, groups)?;
        }
    }
    Ok(refined)
}

fn header() -> Header {
    Header::new().count("THREADS", THREADS).text(include_str!("maps.wgsl"))
}

/// How many pixels and candidates of each a launch refines.
struct Tiles {
    pixels: usize,
    samples: usize,
}

impl Tiles {
    fn new(op: &'static str, gpu: &Gpu, samples: &Samples<'_>, parts: &[MapPart]) -> Result<Self, OpError> {
        let count = samples.count();
        let entries = parts.iter().map(|part| part.entries.len()).max().unwrap_or(1);
        let row_bytes = match samples {
            Samples::Random { .. } => STATE,
            Samples::Given(_) => STATE.max(4 * count),
        };
        // Any range of so many rows fits; of one row it is an error if it does not.
        let all = largest_binding(gpu) / row_bytes + 1;
        let fitting = row_ranges(op, gpu, all, &[row_bytes])?.first().map_or(1, Range::len);
        let room = WAITING.min(largest_binding(gpu)) / STATE;
        let samples = if parts.len() == 1 { count } else { count.min(room) };
        let waiting = if parts.len() == 1 { fitting } else { fitting.min(room / samples) };
        let most = (PROJECTIONS / samples / entries).max(1).next_multiple_of(THREADS as usize);
        Ok(Self { pixels: most.min(waiting), samples })
    }

    /// Ranges of pixels of one map and of their candidates, and the number of the part of the maps, in the order of the launches.
    fn launches(
        &self,
        pixels: usize,
        samples: usize,
        parts: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>, usize)> {
        let ranges =
            |all: usize, most: usize| (0..all).step_by(most).map(move |first| first..(first + most).min(all));
        let most = self.samples;
        ranges(pixels, self.pixels).flat_map(move |pixels| {
            ranges(samples, most).flat_map(move |samples| {
                let pixels = pixels.clone();
                (0..parts).map(move |part| (pixels.clone(), samples.clone(), part))
            })
        })
    }
}

/// Memory for `count` averages or choices that wait for further maps; if there is but one part, none waits.
fn waiting(gpu: &Gpu, op: &'static str, parts: &[MapPart], count: usize) -> Result<Memory, OpError> {
    let count = if parts.len() == 1 { 1 } else { count };
    Ok(gpu.allocate(op, (count * STATE) as u64)?)
}

/// Maps, or rows of maps, that lie one after another and fit a binding.
struct MapPart {
    /// Their pixels among all.
    pixels: Range<usize>,
    /// Their entries among those of all maps.
    entries: Range<usize>,
    /// Of each, in the order of the entries.
    bands: Vec<Band>,
}

/// Rows of one map.
struct Band {
    view: usize,
    first_row: usize,
    rows: usize,
    start: usize,
}

/// All maps; a map is cut only if it does not fit by itself.
fn map_parts(op: &'static str, gpu: &Gpu, views: &[View]) -> Result<Vec<MapPart>, OpError> {
    let largest = largest_binding(gpu);
    // A window begins up to one alignment before its first element.
    let room = largest.saturating_sub(Capabilities::BINDING_ALIGNMENT as usize);
    let all: usize = views.iter().map(View::pixels).sum();
    let whole = 4 * all <= largest && ENTRY * views.len() <= room;
    let [most, most_bands] = if whole { [all, views.len()] } else { [room / 4, room / ENTRY] };
    let mut parts: Vec<MapPart> = Vec::new();
    let mut bands = 0;
    for (view, (map, start)) in views.iter().zip(starts(views)).enumerate() {
        let at_once = if map.pixels() <= most { map.height } else { most / map.width };
        if at_once == 0 || most_bands == 0 {
            let why = format!("a row of {} pixels does not fit one binding", map.width);
            return Err(unsupported(op, gpu, why));
        }
        for first_row in (0..map.height).step_by(at_once) {
            let rows = at_once.min(map.height - first_row);
            let (start, pixels) = (start + first_row * map.width, rows * map.width);
            let fits = |part: &MapPart| part.pixels.len() + pixels <= most && part.bands.len() < most_bands;
            if !parts.last().is_some_and(fits) {
                parts.push(MapPart { pixels: start..start, entries: bands..bands, bands: Vec::new() });
            }
            let part = parts.last_mut().expect("just made sure");
            part.bands.push(Band { view, first_row, rows, start });
            bands += 1;
            (part.pixels.end, part.entries.end) = (start + pixels, bands);
        }
    }
    Ok(parts)
}

/// The entries of the kernels' table of maps, those of one source after another; `matrix` of the number of the source and a view.
fn table(
    gpu: &Gpu,
    sources: &[&[MapPart]],
    views: &[View],
    matrix: impl Fn(usize, &View) -> cameras::Rows,
) -> Result<Tensor, OpError> {
    let mut words: Vec<u32> = Vec::new();
    for (source, parts) in sources.iter().enumerate() {
        for part in *parts {
            // What a window holds before its first element.
            let before = part.pixels.start % (Capabilities::BINDING_ALIGNMENT as usize / 4);
            for band in &part.bands {
                let view = &views[band.view];
                let rows = matrix(source, view);
                words.extend(rows.as_flattened().iter().map(|&v| (v as f32).to_bits()));
                let start = band.start - part.pixels.start + before;
                words.extend([view.width, band.rows, start, band.first_row].map(|n| n as u32));
            }
        }
    }
    uploaded(gpu, words)
}
