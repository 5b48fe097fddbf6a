//! The size and crop that a network wants, and the numbers that it reads.

use super::resample::{Filter, resize};
use image::RgbImage;
use steropes_models::engine::normalised;

/// How a network of the MASt3R family wants its images.
///
/// # Source
/// Behaviour of the published preprocessing: long side `preset` (preset 224: short side 224), then a centre crop to
/// multiples of the patch; a square image becomes 4:3 unless the network takes squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFormat {
    /// Long side in pixels; 224 stands for a square of 224.
    pub preset: u32,
    /// Patch side in pixels.
    pub patch: u32,
    /// Whether square images stay square.
    pub square_ok: bool,
}

impl InputFormat {
    /// The photo's size (width, height) after resizing, before the crop. Sides are rounded half to even, and at
    /// least 1.
    pub fn resized_size(&self, [width, height]: [u32; 2]) -> [u32; 2] {
        let long_side = self.long_side([width, height]);
        let longest = f64::from(width.max(height));
        [width, height].map(|side| {
            let scaled = f64::from(side) * f64::from(long_side) / longest;
            (scaled.round_ties_even() as u32).max(1)
        })
    }

    fn long_side(&self, [width, height]: [u32; 2]) -> u32 {
        if self.preset != 224 {
            return self.preset;
        }
        let [w, h] = [f64::from(width), f64::from(height)];
        (224.0 * (w / h).max(h / w)).round_ties_even() as u32
    }

    /// Lanczos where the photo shrinks, bicubic where it does not.
    pub fn filter(&self, upright_size: [u32; 2]) -> Filter {
        let longest = upright_size[0].max(upright_size[1]);
        if longest > self.long_side(upright_size) { Filter::Lanczos } else { Filter::Bicubic }
    }

    /// Origin and size of the centre crop of a resized photo; `None` if nothing is left.
    pub fn crop(&self, [width, height]: [u32; 2]) -> Option<([u32; 2], [u32; 2])> {
        let center = [width / 2, height / 2];
        let half = if self.preset == 224 {
            [center[0].min(center[1]); 2]
        } else {
            // The whole multiple of the patch, halved; an odd multiple of an odd patch loses a pixel.
            let half = center.map(|c| (2 * c / self.patch) * self.patch / 2);
            if width == height && !self.square_ok { [half[0], 3 * half[0] / 4] } else { half }
        };
        let origin = [center[0] - half[0], center[1] - half[1]];
        (half[0] > 0 && half[1] > 0).then_some((origin, [2 * half[0], 2 * half[1]]))
    }

    /// The whole photo at the network's scale, before the crop.
    pub fn resized(&self, upright: &RgbImage) -> RgbImage {
        let size = [upright.width(), upright.height()];
        let [width, height] = self.resized_size(size);
        resize(upright, width, height, self.filter(size))
    }
}

/// The numbers that the network reads, plane by plane.
///
/// # Shapes
/// - returns: `[3, height, width]`, row-major, red first
pub fn normalised_chw(rgb: &RgbImage) -> Vec<f32> {
    let mut planes = Vec::with_capacity(rgb.len());
    for channel in 0..3 {
        planes.extend(rgb.pixels().map(|p| normalised(p.0[channel])));
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network_size(format: InputFormat, size: [u32; 2]) -> [u32; 2] {
        format.crop(format.resized_size(size)).unwrap().1
    }

    /// The sizes that the specification lists.
    #[test]
    fn known_photos_get_known_sizes() {
        let format = InputFormat { preset: 512, patch: 16, square_ok: false };
        let cases = [
            ([640, 480], [512, 384]),
            ([480, 640], [384, 512]),
            ([1920, 1080], [512, 288]),
            ([1000, 1000], [512, 384]),
            ([1000, 999], [512, 496]),
            ([300, 200], [512, 336]),
            ([517, 400], [512, 384]),
        ];
        for (photo, want) in cases {
            assert_eq!(network_size(format, photo), want, "{photo:?}");
        }
        let dune = InputFormat { preset: 518, patch: 14, square_ok: true };
        for (photo, want) in
            [([640, 480], [518, 378]), ([1920, 1080], [518, 280]), ([1000, 1000], [518, 518])]
        {
            assert_eq!(network_size(dune, photo), want, "{photo:?}");
        }
    }

    /// Every size: multiples of the patch that fit into the resized photo and are centred to half a pixel.
    #[test]
    fn crops_are_whole_patches_in_the_middle() {
        let format = InputFormat { preset: 384, patch: 16, square_ok: false };
        for width in (100..900).step_by(37) {
            for height in (100..900).step_by(41) {
                let resized = format.resized_size([width, height]);
                let (origin, size) = format.crop(resized).unwrap();
                for axis in 0..2 {
                    assert_eq!(size[axis] % 16, 0);
                    let behind = resized[axis] - origin[axis] - size[axis];
                    assert!(origin[axis].abs_diff(behind) <= 1, "{width}x{height}: {origin:?} {behind}");
                }
                assert!(resized[0].max(resized[1]) == 384);
            }
        }
    }

    #[test]
    fn preset_224_is_a_square() {
        let format = InputFormat { preset: 224, patch: 16, square_ok: false };
        for photo in [[640, 480], [333, 1000], [224, 224], [100, 101]] {
            assert_eq!(network_size(format, photo), [224, 224], "{photo:?}");
        }
    }

    #[test]
    fn equal_size_is_bicubic_and_smaller_is_lanczos() {
        let format = InputFormat { preset: 512, patch: 16, square_ok: false };
        assert_eq!(format.filter([512, 300]), Filter::Bicubic);
        assert_eq!(format.filter([513, 300]), Filter::Lanczos);
    }

    #[test]
    fn black_and_white_are_the_ends_of_the_range() {
        let rgb = RgbImage::from_raw(2, 1, vec![0, 255, 127, 255, 0, 128]).unwrap();
        assert_eq!(normalised_chw(&rgb)[..4], [-1.0, 1.0, 1.0, -1.0]);
        let grey = normalised_chw(&rgb)[4];
        assert_eq!(grey, (127.0f32 / 255.0 - 0.5) / 0.5);
    }
}
