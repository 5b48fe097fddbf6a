//! What is known of a camera and of the robot that carries it: one TOML file for each camera.

use crate::WatchError;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::Path;

/// What is known of a camera and of its robot. Lengths in metres, times in seconds, angles in degrees, pixels of the upright frame.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The camera.
    pub camera: CameraCalibration,
    /// The robot.
    pub robot: Robot,
    /// What the camera's pictures are like when nothing is wrong.
    #[serde(default)]
    pub noise: Noise,
}

/// A pinhole camera and how it is mounted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraCalibration {
    /// Width of a frame.
    pub width: u32,
    /// Height of a frame.
    pub height: u32,
    /// Focal lengths (x, y).
    pub focal_px: [f64; 2],
    /// Principal point (x, y); the centre of the top-left pixel is (0.5, 0.5).
    pub center_px: [f64; 2],
    /// Height of the lens above the floor, if it is known: it makes distances metric.
    #[serde(default)]
    pub above_floor: Option<f64>,
    /// How far the camera looks down from level.
    #[serde(default)]
    pub pitch: f64,
    /// How far the picture's right side hangs down.
    #[serde(default)]
    pub roll: f64,
    /// How far the camera looks to the left of the robot's heading.
    #[serde(default)]
    pub yaw: f64,
    /// How far the lens is to the left of the robot's middle.
    #[serde(default)]
    pub left_of_middle: f64,
    /// How far the lens is behind the robot's front.
    #[serde(default)]
    pub behind_front: f64,
}

/// The space that a robot needs and how it stops.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Robot {
    /// Width of the space that it needs.
    pub width: f64,
    /// Lowest height above the floor that counts as an obstacle.
    pub low: f64,
    /// Highest height that it needs.
    pub high: f64,
    /// Its speed in metres a second, where no odometry says more.
    #[serde(default)]
    pub speed: Option<f64>,
    /// How hard it brakes, metres a second squared.
    pub deceleration: f64,
    /// Time from a decision to the brakes.
    pub reaction: f64,
    /// Distance that must be left when it stands.
    pub margin: f64,
}

/// Quantiles over frames of the still camera, and limits in time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// Mean over pixels of the absolute difference of two frames of a still scene, in levels of 0 to 255: 1 % of frames are below.
    /// Frames below half of it count as frozen; 0 counts only identical frames.
    pub difference: f64,
    /// Sharpness (see [`crate::Health`]) that 1 % of frames are below; frames below two fifths of it count as blurred.
    pub sharpness: f64,
    /// Longest age of a frame that a decision may rest on.
    pub max_age: f64,
    /// Longest time without a frame.
    pub max_silence: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self { difference: 0.0, sharpness: 0.0, max_age: 1.0, max_silence: 0.3 }
    }
}

impl Calibration {
    /// What is supposed of a camera of which nothing is known: 60 degrees wide, level, 0.5 m above the floor, on a robot 0.6 m wide.
    pub fn guess([width, height]: [u32; 2]) -> Self {
        let focal = f64::from(width) / (2.0 * 30f64.to_radians().tan());
        Self {
            camera: CameraCalibration {
                width,
                height,
                focal_px: [focal; 2],
                center_px: [f64::from(width) / 2.0, f64::from(height) / 2.0],
                above_floor: Some(0.5),
                pitch: 0.0,
                roll: 0.0,
                yaw: 0.0,
                left_of_middle: 0.0,
                behind_front: 0.0,
            },
            robot: Robot {
                width: 0.6,
                low: 0.03,
                high: 1.2,
                speed: None,
                deceleration: 1.0,
                reaction: 0.1,
                margin: 0.15,
            },
            noise: Noise::default(),
        }
    }

    /// Reads a calibration file.
    ///
    /// # Errors
    /// [`WatchError::File`], [`WatchError::Text`] with the line, or as [`Calibration::check`].
    pub fn read(path: &Path) -> Result<Self, WatchError> {
        let text = std::fs::read_to_string(path).map_err(WatchError::file(path))?;
        Self::from_toml(&path.display().to_string(), &text)
    }

    /// The calibration in a TOML text; `file` stands for it in messages.
    ///
    /// # Errors
    /// [`WatchError::Text`] with the line, or as [`Calibration::check`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, WatchError> {
        let calibration: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let problem = format!("line {line}: {}", error.message().lines().next().unwrap_or_default());
            WatchError::Text { file: file.to_owned(), problem }
        })?;
        calibration.check()?;
        Ok(calibration)
    }

    /// Whether all values can be.
    ///
    /// # Errors
    /// [`WatchError::Calibration`] for the first that cannot.
    pub fn check(&self) -> Result<(), WatchError> {
        let (camera, robot, noise) = (&self.camera, &self.robot, &self.noise);
        let positive = [
            ("camera.width", f64::from(camera.width)),
            ("camera.height", f64::from(camera.height)),
            ("camera.focal_px", camera.focal_px[0].min(camera.focal_px[1])),
            ("camera.above_floor", camera.above_floor.unwrap_or(1.0)),
            ("robot.width", robot.width),
            ("robot.high", robot.high),
            ("robot.deceleration", robot.deceleration),
            ("noise.max_age", noise.max_age),
            ("noise.max_silence", noise.max_silence),
        ];
        let not_negative = [
            ("robot.low", robot.low),
            ("robot.speed", robot.speed.unwrap_or(0.0)),
            ("robot.reaction", robot.reaction),
            ("robot.margin", robot.margin),
            ("noise.difference", noise.difference),
            ("noise.sharpness", noise.sharpness),
        ];
        let angles =
            [("camera.pitch", camera.pitch), ("camera.roll", camera.roll), ("camera.yaw", camera.yaw)];
        let finite = [
            ("camera.center_px", camera.center_px[0] + camera.center_px[1]),
            ("camera.left_of_middle", camera.left_of_middle),
            ("camera.behind_front", camera.behind_front),
        ];
        let failed = |key, expected, found| Err(WatchError::Calibration { key, expected, found });
        for (key, found) in positive {
            if !(found > 0.0 && found.is_finite()) {
                return failed(key, "above 0", found);
            }
        }
        for (key, found) in not_negative {
            if !(found >= 0.0 && found.is_finite()) {
                return failed(key, "at least 0", found);
            }
        }
        for (key, found) in angles {
            if !found.is_finite() || found.abs() > 89.0 {
                return failed(key, "between -89 and 89 degrees", found);
            }
        }
        for (key, found) in finite {
            if !found.is_finite() {
                return failed(key, "a number", found);
            }
        }
        if robot.high <= robot.low {
            return failed("robot.high", "above `robot.low`", robot.high);
        }
        Ok(())
    }

    /// The text of the file, with a comment for each value.
    pub fn to_toml(&self) -> String {
        let (camera, robot, noise) = (&self.camera, &self.robot, &self.noise);
        let mut text = String::from(
            "# Calibration of one camera for `steropes watch`. Metres, seconds, degrees; pixels of the upright frame.\n",
        );
        let mut line = |text_of_line: String| {
            writeln!(text, "{text_of_line}").expect("a text takes lines");
        };
        line("\n[camera]".to_owned());
        line(format!("width = {}", camera.width));
        line(format!("height = {}", camera.height));
        line(format!("focal_px = [{:?}, {:?}]", camera.focal_px[0], camera.focal_px[1]));
        line(format!(
            "center_px = [{:?}, {:?}]  # the centre of the top-left pixel is (0.5, 0.5)",
            camera.center_px[0], camera.center_px[1]
        ));
        if let Some(height) = camera.above_floor {
            line(format!("above_floor = {height:?}  # of the lens; without it distances need the speed"));
        }
        line(format!("pitch = {:?}  # looking down", camera.pitch));
        line(format!("roll = {:?}  # right side down", camera.roll));
        line(format!("yaw = {:?}  # left of the heading", camera.yaw));
        line(format!("left_of_middle = {:?}", camera.left_of_middle));
        line(format!("behind_front = {:?}", camera.behind_front));
        line("\n[robot]".to_owned());
        line(format!("width = {:?}", robot.width));
        line(format!("low = {:?}  # lowest height above the floor that counts", robot.low));
        line(format!("high = {:?}", robot.high));
        if let Some(speed) = robot.speed {
            line(format!("speed = {speed:?}  # where no odometry says more"));
        }
        line(format!("deceleration = {:?}", robot.deceleration));
        line(format!("reaction = {:?}  # from a decision to the brakes", robot.reaction));
        line(format!("margin = {:?}  # left when it stands", robot.margin));
        line("\n[noise]".to_owned());
        line(format!("difference = {:?}  # levels between frames of a still scene", noise.difference));
        line(format!("sharpness = {:?}", noise.sharpness));
        line(format!("max_age = {:?}  # of a frame that a decision rests on", noise.max_age));
        line(format!("max_silence = {:?}  # without a frame", noise.max_silence));
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small robot with a camera like that of the clips.
    pub(crate) fn robot() -> Calibration {
        let mut calibration = Calibration::guess([640, 360]);
        let camera = &mut calibration.camera;
        (camera.focal_px, camera.above_floor, camera.pitch) = ([430.0; 2], Some(0.55), 5.0);
        calibration.robot.speed = Some(0.65);
        calibration
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut calibration = robot();
        calibration.camera.focal_px[0] = 431.123_456_789;
        calibration.noise.difference = 0.7;
        assert_eq!(Calibration::from_toml("a.toml", &calibration.to_toml()).unwrap(), calibration);
        calibration.camera.above_floor = None;
        calibration.robot.speed = None;
        assert_eq!(Calibration::from_toml("a.toml", &calibration.to_toml()).unwrap(), calibration);
    }

    #[test]
    fn bad_values_are_named_with_their_line() {
        let text = robot().to_toml();
        let bad = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Calibration::from_toml("a.toml", &text.replace(from, to)).unwrap_err().to_string()
        };
        assert_eq!(bad("width = 0.6", "width = -1.0"), "calibration: `robot.width` must be above 0, got -1");
        assert!(bad("high = 1.2", "high = 0.01").contains("above `robot.low`"));
        assert!(bad("pitch = 5.0", "pitch = 120.0").contains("between -89 and 89"));
        let unknown = bad("margin =", "margn =");
        assert!(unknown.starts_with("`a.toml`: line ") && unknown.contains("margn"), "{unknown}");
    }
}
