//! The three resamplers that hide behind the word "bilinear".
//!
//! All work on `[height, width, 3]` bytes, compute only the part that is asked for, and give what they would give for the whole.

/// A part of a resized picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Size of the whole resized picture: height, width.
    pub(super) whole: [usize; 2],
    /// Top-left pixel of the part in it: row, column.
    pub(super) origin: [usize; 2],
    /// Size of the part: height, width.
    pub(super) size: [usize; 2],
}

/// Interleaved channels.
const CHANNELS: usize = 3;

/// Copies the part of a picture of width `width` that needs no resizing.
pub(super) fn copy(rgb: &[u8], width: usize, part: Part) -> Vec<u8> {
    let ([top, left], [rows, columns]) = (part.origin, part.size);
    let row = |y: usize| {
        let start = CHANNELS * ((top + y) * width + left);
        &rgb[start..start + CHANNELS * columns]
    };
    (0..rows).flat_map(row).copied().collect()
}

/// Two neighbours of an output pixel and their weights in units of 1/2048, as OpenCV's `INTER_LINEAR` has them.
struct Neighbours {
    at: [usize; 2],
    weights: [i32; 2],
}

/// The neighbours of output pixels `first..first + count` of an axis; `clamps_weight` says whether an axis ends with whole weights (rows of
/// pixels do, columns repeat their last pixel instead; the results differ by rounding only).
fn neighbours(from: usize, to: usize, first: usize, count: usize, clamps_weight: bool) -> Vec<Neighbours> {
    let last = from as i64 - 1;
    (first..first + count)
        .map(|i| {
            let place = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5) as f32;
            let (mut start, mut fraction) = (place.floor() as i64, place - place.floor());
            if clamps_weight && (start < 0 || start >= last) {
                (start, fraction) = (start.clamp(0, last), 0.0);
            }
            let at = [start, start + 1].map(|s| s.clamp(0, last) as usize);
            let weights = [1.0 - fraction, fraction].map(|w| (2048.0 * w).round_ties_even() as i32);
            Neighbours { at, weights }
        })
        .collect()
}

/// Bilinear without antialias in the fixed-point arithmetic of OpenCV for bytes.
pub(super) fn opencv_linear(rgb: &[u8], [height, width]: [usize; 2], part: Part) -> Vec<u8> {
    let across = neighbours(width, part.whole[1], part.origin[1], part.size[1], true);
    let down = neighbours(height, part.whole[0], part.origin[0], part.size[0], false);
    let row = |y: usize| -> Vec<i32> {
        let source = &rgb[CHANNELS * y * width..][..CHANNELS * width];
        let value = |n: &Neighbours, c: usize| {
            let [left, right] = n.at.map(|x| i32::from(source[CHANNELS * x + c]));
            (left * n.weights[0] + right * n.weights[1]) >> 4
        };
        across.iter().flat_map(|n| [0, 1, 2].map(|c| value(n, c))).collect()
    };
    let mut rows = RowCache::new(row);
    let mut out = Vec::with_capacity(CHANNELS * part.size[0] * part.size[1]);
    for n in &down {
        let [above, below] = rows.get(n.at);
        let blend = |(a, b): (&i32, &i32)| {
            let sum = ((n.weights[0] * a) >> 16) + ((n.weights[1] * b) >> 16);
            ((sum + 2) >> 2).clamp(0, 255) as u8
        };
        out.extend(above.iter().zip(below).map(blend));
    }
    out
}

/// The last two rows that were asked for, so that each is computed once on the way down.
struct RowCache<F> {
    compute: F,
    rows: [(Option<usize>, Vec<i32>); 2],
}

impl<F: Fn(usize) -> Vec<i32>> RowCache<F> {
    fn new(compute: F) -> Self {
        Self { compute, rows: [(None, Vec::new()), (None, Vec::new())] }
    }

    fn get(&mut self, at: [usize; 2]) -> [&[i32]; 2] {
        if self.rows[1].0 == Some(at[0]) {
            self.rows.swap(0, 1);
        }
        for (slot, y) in self.rows.iter_mut().zip(at) {
            if slot.0 != Some(y) {
                *slot = (Some(y), (self.compute)(y));
            }
        }
        [&self.rows[0].1, &self.rows[1].1]
    }
}

/// The source pixels of an output pixel and their weights.
struct Window<W> {
    first: usize,
    weights: Vec<W>,
}

/// Triangle windows that are widened where the picture shrinks (antialias), for output pixels `first..first + count`, computed in f64.
fn windows_f64(from: usize, to: usize, first: usize, count: usize) -> Vec<Window<f64>> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (first..first + count)
        .map(|i| {
            let center = scale * (i as f64 + 0.5);
            // Casts cut towards zero, as the definition asks.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw = (start..end).map(|j| (1.0 - ((j as f64 - center + 0.5) / support).abs()).max(0.0));
            let raw: Vec<f64> = raw.collect();
            let sum: f64 = raw.iter().sum();
            Window { first: start, weights: raw.iter().map(|w| w / sum).collect() }
        })
        .collect()
}

/// The same windows in f32 arithmetic, whose last bits decide how halves are rounded.
fn windows_f32(from: usize, to: usize, first: usize, count: usize) -> Vec<Window<f32>> {
    let scale = from as f32 / to as f32;
    let (support, per_pixel) = if scale >= 1.0 { (scale, 1.0 / scale) } else { (1.0, 1.0) };
    (first..first + count)
        .map(|i| {
            let center = scale * (i as f32 + 0.5);
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weight = |j: usize| (1.0 - ((j as f32 - center + 0.5) * per_pixel).abs()).max(0.0);
            let raw: Vec<f32> = (start..end).map(weight).collect();
            let sum: f32 = raw.iter().fold(0.0, |sum, w| sum + w);
            Window { first: start, weights: raw.iter().map(|w| w / sum).collect() }
        })
        .collect()
}

/// Windows with weights of 16 bits, and how many of them are fractional: as many as the largest weight of the axis leaves room for.
fn windows_i16(from: usize, to: usize, first: usize, count: usize) -> (Vec<Window<i32>>, u32) {
    let largest = windows_f64(from, to, 0, to).iter().flat_map(|w| w.weights.clone()).fold(0.0, f64::max);
    let too_large = |bits: u32| 0.5 + largest * f64::from(1u32 << (bits + 1)) >= f64::from(1u32 << 15);
    let bits = (0..22).find(|&bits| too_large(bits)).unwrap_or(22);
    let one = f64::from(1u32 << bits);
    let round = |w: &Window<f64>| Window {
        first: w.first,
        weights: w.weights.iter().map(|w| (w * one + 0.5) as i32).collect(),
    };
    (windows_f64(from, to, first, count).iter().map(round).collect(), bits)
}

/// Rows of the source that `down` reads.
fn rows_read<W>(down: &[Window<W>]) -> std::ops::Range<usize> {
    let start = down.iter().map(|w| w.first).min().unwrap_or(0);
    let end = down.iter().map(|w| w.first + w.weights.len()).max().unwrap_or(0);
    start..end
}

/// Bilinear with antialias in the integer arithmetic of torchvision's kernel for bytes: rows, then columns, with bytes between.
pub(super) fn antialias_u8(rgb: &[u8], [height, width]: [usize; 2], part: Part) -> Vec<u8> {
    let (across, across_bits) = windows_i16(width, part.whole[1], part.origin[1], part.size[1]);
    let (down, down_bits) = windows_i16(height, part.whole[0], part.origin[0], part.size[0]);
    let to_byte = |sum: i32, bits: u32| ((sum + (1 << (bits - 1))) >> bits).clamp(0, 255) as u8;
    let read = rows_read(&down);
    let columns = CHANNELS * part.size[1];
    let mut between = Vec::with_capacity(read.len() * columns);
    for y in read.clone() {
        let source = &rgb[CHANNELS * y * width..][..CHANNELS * width];
        if width == part.whole[1] {
            between.extend_from_slice(&source[CHANNELS * part.origin[1]..][..columns]);
            continue;
        }
        for window in &across {
            let mut sums = [0i32; CHANNELS];
            for (pixel, w) in source[CHANNELS * window.first..].chunks_exact(CHANNELS).zip(&window.weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += w * i32::from(v));
            }
            between.extend(sums.map(|sum| to_byte(sum, across_bits)));
        }
    }
    if height == part.whole[0] {
        return between;
    }
    let mut out = Vec::with_capacity(part.size[0] * columns);
    let mut sums = vec![0i32; columns];
    for window in &down {
        sums.fill(0);
        for (row, w) in between[(window.first - read.start) * columns..].chunks_exact(columns).zip(&window.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += w * i32::from(v));
        }
        out.extend(sums.iter().map(|&sum| to_byte(sum, down_bits)));
    }
    out
}

/// Bilinear with antialias in f32, rounded to bytes once at the end (halves to even).
pub(super) fn antialias_f32(rgb: &[u8], [height, width]: [usize; 2], part: Part) -> Vec<u8> {
    let across = windows_f32(width, part.whole[1], part.origin[1], part.size[1]);
    let down = windows_f32(height, part.whole[0], part.origin[0], part.size[0]);
    let read = rows_read(&down);
    let columns = CHANNELS * part.size[1];
    let mut between: Vec<f32> = Vec::with_capacity(read.len() * columns);
    for y in read.clone() {
        let source = &rgb[CHANNELS * y * width..][..CHANNELS * width];
        if width == part.whole[1] {
            between.extend(source[CHANNELS * part.origin[1]..][..columns].iter().map(|&v| f32::from(v)));
            continue;
        }
        for window in &across {
            let mut sums = [0f32; CHANNELS];
            for (pixel, w) in source[CHANNELS * window.first..].chunks_exact(CHANNELS).zip(&window.weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += w * f32::from(v));
            }
            between.extend(sums);
        }
    }
    let to_byte = |v: &f32| v.round_ties_even().clamp(0.0, 255.0) as u8;
    if height == part.whole[0] {
        return between.iter().map(to_byte).collect();
    }
    let mut out = Vec::with_capacity(part.size[0] * columns);
    let mut sums = vec![0f32; columns];
    for window in &down {
        sums.fill(0.0);
        for (row, w) in between[(window.first - read.start) * columns..].chunks_exact(columns).zip(&window.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += w * v);
        }
        out.extend(sums.iter().map(to_byte));
    }
    out
}

/// Bilinear without antialias in f32 without rounding, corners not aligned (`F.interpolate`), of the rectangle `crop_size` at `crop_origin`; `[rows, columns, 3]`.
pub(super) fn interpolate_f32(
    rgb: &[u8],
    width: usize,
    crop_origin: [usize; 2],
    crop_size: [usize; 2],
    [rows, columns]: [usize; 2],
) -> Vec<f32> {
    let axis = |from: usize, to: usize| -> Vec<([usize; 2], f32)> {
        let scale = from as f32 / to as f32;
        let place = |i: usize| (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let neighbours = |place: f32| {
            let start = (place as usize).min(from - 1);
            ([start, (start + 1).min(from - 1)], (place - start as f32).clamp(0.0, 1.0))
        };
        (0..to).map(|i| neighbours(place(i))).collect()
    };
    let (down, across) = (axis(crop_size[0], rows), axis(crop_size[1], columns));
    let value = |y: usize, x: usize, c: usize| {
        f32::from(rgb[CHANNELS * ((crop_origin[0] + y) * width + crop_origin[1] + x) + c])
    };
    let mut out = Vec::with_capacity(CHANNELS * rows * columns);
    for ([y0, y1], v) in &down {
        for ([x0, x1], u) in &across {
            for c in 0..CHANNELS {
                let row = |y: usize| (1.0 - u) * value(y, *x0, c) + u * value(y, *x1, c);
                out.push((1.0 - v) * row(*y0) + v * row(*y1));
            }
        }
    }
    out
}
