//! Prints decisions beside the truth.
use serde_json::Value;
use steropes_models::engine::{EngineConfig, MatchOptions};
use steropes_watch::*;

fn main() {
    let root = "/work/shared/photos";
    let latency: f64 = std::env::args().nth(1).map_or(0.4, |s| s.parse().unwrap());
    let size: u32 = std::env::args().nth(2).map_or(320, |s| s.parse().unwrap());
    let clips: Vec<String> = std::env::args().skip(3).collect();
    for clip in clips {
        let settings = EngineConfig {
            device: Some("cpu".into()),
            image_size: size,
            matching: MatchOptions { top_k: 600, threshold: 0.5, reciprocal: true, subsample: 6 },
            ..EngineConfig::default()
        };
        let network = Network::open(settings).unwrap();
        let dir = format!("{root}/clip_{clip}");
        let truth: Value = serde_json::from_str(&std::fs::read_to_string(format!("{dir}/truth.json")).unwrap()).unwrap();
        let f = truth["fx"].as_f64().unwrap();
        let frames = truth["frames"].as_array().unwrap();
        let h = frames.iter().map(|f| f["position"][2].as_f64().unwrap()).sum::<f64>() / frames.len() as f64;
        let speed = frames[0]["speed"].as_f64().unwrap();
        let cal = Calibration {
            camera: CameraCalibration { width: 640, height: 360, focal_px: [f, f], center_px: [320.0, 180.0], above_floor: Some(h), pitch: 5.0, roll: 0.0, yaw: 0.0, left_of_middle: 0.0, behind_front: 0.0 },
            robot: Robot { width: 0.6, low: 0.03, high: 1.2, speed: Some(speed), deceleration: 1.0, reaction: 0.1, margin: 0.15 },
            noise: Noise::default(),
        };
        let mut watch = Watch::new(network, Some(cal), [640, 360]).unwrap();
        println!("== {clip} h {h:.3}");
        let mut next = 0.0;
        for (i, t) in frames.iter().enumerate() {
            let time = t["time"].as_f64().unwrap();
            if time + 1e-6 < next { continue; }
            next = time + latency;
            let image = image::open(format!("{dir}/{}", t["file"].as_str().unwrap())).unwrap().to_rgb8();
            let start = std::time::Instant::now();
            let seen = watch.see(i as u64, time, &image, None).unwrap();
            let took = start.elapsed();
            let d = watch.decide(&seen, latency);
            let show = |v: Option<f64>| v.map_or("-".into(), |d| format!("{d:.2}"));
            let a = seen.analysis().unwrap();
            println!("{i:3} true {:>5} {:>5} | {:>5} {:>5} sure {} | {:?} {:?} scale {:?} sg {:.2} floor {:.2} | par {} v {} | L {} R {} ch {} {} {} | mv {:?} | seen {:.2} conf {:.1} {} ms",
                show(t["nearest"].as_f64()), show(t["time_to_contact"].as_f64()),
                show(a.ahead.map(|a| a.distance)), show(a.contact), a.ahead.is_some_and(|a| a.sure),
                d.state, d.why, a.scale, a.sigma, a.floor, show(a.parallax_px), show(a.measured_speed), show(a.zones[0].distance), show(a.zones[2].distance),
                show(a.zones[0].change), show(a.zones[1].change), show(a.zones[2].change),
                a.movers.map(|m| m.map(|m| format!("l {:.2} d {:.2} v {:.2} e {:.2} n {}", m.left, m.distance, m.speed, m.entry, m.matches))),
                a.seen, a.zones[1].confidence, took.as_millis());
        }
    }
}
