//! The picture with what the watch made of it.

use crate::{Calibration, Decision, Eye, Kind, Lane, Seen, State};
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Dimensions, Point, Size};
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_9X15_BOLD};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor as _};
use embedded_graphics::primitives::{Line, Primitive as _, PrimitiveStyle, Rectangle};
use embedded_graphics::text::Text;
use embedded_graphics::{Drawable as _, Pixel};
use image::RgbImage;
use nalgebra::Vector3;
use steropes_scene::photo::PixelMap;

/// Draws a decision over its frame: what is floor and what stands in the corridor, the corridor's edges on the floor, the three zones and the
/// state. `map` is the network's: what lies outside of its image is darkened, because it was not looked at.
pub fn overlay(
    frame: &RgbImage,
    map: &PixelMap,
    eye: Option<&Eye>,
    calibration: &Calibration,
    seen: Option<&Seen>,
    decision: &Decision,
) -> RgbImage {
    let mut picture = frame.clone();
    let kinds = seen.and_then(Seen::analysis).map(|analysis| analysis.kinds.as_slice());
    tint(&mut picture, map, kinds);
    let mut canvas = Canvas(picture);
    if let Some(eye) = eye {
        corridor(&mut canvas, map, eye, calibration);
    }
    words(&mut canvas, decision);
    canvas.0
}

fn colour(state: State) -> Rgb888 {
    match state {
        State::Unknown => Rgb888::new(150, 150, 150),
        State::Clear => Rgb888::new(40, 190, 90),
        State::Caution => Rgb888::new(245, 180, 30),
        State::Stop => Rgb888::new(230, 50, 50),
    }
}

fn tint(picture: &mut RgbImage, map: &PixelMap, kinds: Option<&[Kind]>) {
    let [width, height] = map.network_size.map(f64::from);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let [u, v] = map.network_from_upright([f64::from(x) + 0.5, f64::from(y) + 0.5]);
        let inside = (-0.5..width - 0.5).contains(&u) && (-0.5..height - 0.5).contains(&v);
        if !inside {
            pixel.0 = pixel.0.map(|level| level / 2);
            continue;
        }
        let i = (v.round() * width + u.round()) as usize;
        let shade = match kinds.and_then(|kinds| kinds.get(i)) {
            Some(Kind::Floor) => [60, 150, 90],
            Some(Kind::Obstacle) => [210, 120, 60],
            _ => continue,
        };
        for (level, shade) in pixel.0.iter_mut().zip(shade) {
            *level = ((3 * u32::from(*level) + shade) / 4) as u8;
        }
    }
}

/// The edges of the corridor on the floor, and cross lines every metre.
fn corridor(canvas: &mut Canvas, map: &PixelMap, eye: &Eye, calibration: &Calibration) {
    let lane = Lane::corridor(&calibration.robot);
    let front = calibration.camera.behind_front;
    let place = |ahead: f64, left: f64| {
        let point = Vector3::new(ahead + front, left - calibration.camera.left_of_middle, 0.0);
        let (pixel, _) = eye.project(&point)?;
        let [x, y] = map.upright_from_network(pixel);
        let fits = |v: f64| v.abs() < 1e5;
        (fits(x) && fits(y)).then(|| Point::new(x as i32, y as i32))
    };
    let style = PrimitiveStyle::with_stroke(Rgb888::WHITE, 2);
    let mut line = |a: Option<Point>, b: Option<Point>| {
        if let (Some(a), Some(b)) = (a, b) {
            draw(Line::new(a, b).into_styled(style).draw(canvas));
        }
    };
    let steps: Vec<f64> = (1..=50).map(|k| 0.1 * f64::from(k)).collect();
    for pair in steps.windows(2) {
        for edge in [lane.left, lane.right] {
            line(place(pair[0], edge), place(pair[1], edge));
        }
    }
    for metre in 1..=5 {
        let ahead = f64::from(metre);
        line(place(ahead, lane.left), place(ahead, lane.right));
    }
}

fn words(canvas: &mut Canvas, decision: &Decision) {
    let Size { width, height } = canvas.bounding_box().size;
    let shade = colour(decision.state);
    let border = Rectangle::new(Point::zero(), Size::new(width, height));
    draw(border.into_styled(PrimitiveStyle::with_stroke(shade, 8)).draw(canvas));
    draw(
        Rectangle::new(Point::new(4, 4), Size::new(width.saturating_sub(8), 24))
            .into_styled(PrimitiveStyle::with_fill(shade))
            .draw(canvas),
    );
    let mut text = |x: i32, y: i32, words: &str, colour: Rgb888| {
        draw(Text::new(words, Point::new(x, y), MonoTextStyle::new(&FONT_9X15_BOLD, colour)).draw(canvas));
    };
    text(10, 20, &decision.sentence, Rgb888::BLACK);
    let show = |value: Option<f64>, unit: &str| value.map_or("-".to_owned(), |v| format!("{v:.2} {unit}"));
    let [zone_width, bottom] = [width as i32 / 3, height as i32 - 28];
    for (k, (zone, name)) in decision.zones.iter().zip(["left", "corridor", "right"]).enumerate() {
        let x = 10 + k as i32 * zone_width;
        text(x, bottom, &format!("{name} {}", show(zone.distance, "m")), Rgb888::WHITE);
        text(x, bottom + 15, &format!("contact {}", show(zone.time_to_contact, "s")), Rgb888::WHITE);
    }
    text(width as i32 - 130, 44, &format!("age {}", show(decision.age, "s")), Rgb888::WHITE);
}

/// A picture that can be drawn on.
struct Canvas(RgbImage);

impl Dimensions for Canvas {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(self.0.width(), self.0.height()))
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(Point { x, y }, colour) in pixels {
            let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
            if let Some(pixel) = place.and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y)) {
                pixel.0 = [colour.r(), colour.g(), colour.b()];
            }
        }
        Ok(())
    }
}

/// Drawing on a picture cannot fail.
fn draw<T>(drawn: Result<T, std::convert::Infallible>) {
    let Ok(_) = drawn;
}
