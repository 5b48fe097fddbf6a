//! Prints distances beside the truth.
use serde_json::Value;
use steropes_models::engine::{EngineConfig, MatchOptions};
use steropes_watch::*;

fn main() {
    let root = "/work/shared/photos";
    let step: usize = std::env::args().nth(1).map_or(6, |s| s.parse().unwrap());
    let size: u32 = std::env::args().nth(2).map_or(320, |s| s.parse().unwrap());
    let clips: Vec<String> = std::env::args().skip(3).collect();
    let settings = EngineConfig {
        device: Some("cpu".into()),
        image_size: size,
        matching: MatchOptions { top_k: 600, threshold: 0.5, reciprocal: true, subsample: 6 },
        ..EngineConfig::default()
    };
    let mut network = Network::open(settings).unwrap();
    for clip in clips {
        let dir = format!("{root}/clip_{clip}");
        let truth: Value = serde_json::from_str(&std::fs::read_to_string(format!("{dir}/truth.json")).unwrap()).unwrap();
        let f = truth["fx"].as_f64().unwrap();
        let frames = truth["frames"].as_array().unwrap();
        let h = frames.iter().map(|f| f["position"][2].as_f64().unwrap()).sum::<f64>() / frames.len() as f64;
        let cal = Calibration {
            camera: CameraCalibration { width: 640, height: 360, focal_px: [f, f], center_px: [320.0, 180.0], above_floor: Some(h), pitch: 5.0, roll: 0.0, yaw: 0.0, left_of_middle: 0.0, behind_front: 0.0 },
            robot: Robot { width: 0.6, low: 0.03, high: 1.2, speed: None, deceleration: 1.0, reaction: 0.1, margin: 0.15 },
            noise: Noise::default(),
        };
        let eye = Eye::new(&cal, &network.map([640, 360]).unwrap()).unwrap();
        network.forget();
        let mut last: Option<Ruler> = None;
        println!("== {clip} h {h:.3}");
        for i in (0..frames.len()).step_by(step) {
            let t = &frames[i];
            let image = image::open(format!("{dir}/{}", t["file"].as_str().unwrap())).unwrap().to_rgb8();
            let start = std::time::Instant::now();
            let (look, key) = network.look(&image, t["time"].as_f64().unwrap()).unwrap();
            let took = start.elapsed();
            let ruler = Ruler::measure(&eye, &look);
            let used = ruler.clone().or(last.clone()).unwrap_or(Ruler::of_factor(2.0, 0.3, &eye));
            let surf = Surfaces::new(&eye, &look, &used, &cal.robot);
            let near = Lane::corridor(&cal.robot).nearest(&eye, &surf, &cal);
            let speed = t["speed"].as_f64().unwrap();
            let pts: Vec<_> = look.matches.iter().map(|m| surf.points[m.current[1] as usize * eye.size[0] + m.current[0] as usize]).collect();
            let motion = Motion::measure(&eye, &look.matches, &pts, Some([speed * look.interval, 0.1 * speed * look.interval + 0.02]), 0.1);
            let free = Motion::measure(&eye, &look.matches, &pts, None, 0.1);
            let mut ttc = None;
            let mut nm = 0;
            if let Some(n) = &near {
                let on: Vec<Match> = look.matches.iter().zip(&pts).filter(|(m, p)| {
                    let k = m.current[1] as usize * eye.size[0] + m.current[0] as usize;
                    surf.kinds[k] == Kind::Obstacle && (p.x / n.from_lens).ln().abs() < 0.2 && p.y.abs() < 0.5
                }).map(|(m, _)| *m).collect();
                nm = on.len();
                ttc = expansion(&on);
            }
            println!("{i:3} true {:>7} {:>7} | {:>6} px {:5} | ruler {} | motion {} free {} | ttc {} nm {nm} | {} ms m {}",
                t["nearest"].as_f64().map_or("-".into(), |d| format!("{d:.2}")),
                t["time_to_contact"].as_f64().map_or("-".into(), |d| format!("{d:.2}")),
                near.map_or("-".into(), |n| format!("{:.2}", n.distance)), near.map_or(0, |n| n.pixels),
                ruler.as_ref().map_or("none".into(), |r| format!("{:.2} s {:.3} share {:.2}", r.factor(), r.sigma, r.share)),
                motion.map_or("none".into(), |m| format!("{:.3} {:.2}px {:.2} par {:.1}", m.ahead(), m.sigma_px, m.agree, m.parallax_px)),
                free.map_or("none".into(), |m| format!("{:.3} true {:.3}", m.ahead(), speed * look.interval)),
                ttc.map_or("-".into(), |[e, s]| format!("{:.2} ({e:.3} {s:.3})", look.interval / (e - 1.0))),
                took.as_millis(), look.matches.len());
            if ruler.is_some() { last = ruler; }
            network.keep(key);
        }
    }
}
