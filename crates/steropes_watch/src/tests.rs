//! Geometry against worlds whose truth is known.

use crate::calibration::tests::robot;
use crate::eye::tests::eye;
use crate::synthetic::{Block, World};
use crate::{Analysis, Analyst, Calibration, Motion, Ruler, Scale, expansion, stopping_distance};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};

fn analyse(calibration: &Calibration, world: &World) -> Analysis {
    look_at(&mut Analyst::new(calibration, eye(calibration)), world, None)
}

fn look_at(analyst: &mut Analyst, world: &World, odometry: Option<f64>) -> Analysis {
    let look = world.look(analyst.eye());
    analyst.analyse(&look, 1.0, odometry, &|v| stopping_distance(&robot().robot, v, 0.3))
}

fn wall(distance: f64) -> Block {
    Block::still([distance, -1.5, 0.0], [distance + 0.5, 1.5, 3.0])
}

#[test]
fn the_floor_gives_metres_whatever_the_unit() {
    let calibration = robot();
    for unit in [0.4, 1.0, 2.7] {
        let mut world = World::new(vec![wall(2.2)], 0.25, 0.4);
        (world.unit, world.noise) = (unit, 0.02);
        let ruler = Ruler::measure(&eye(&calibration), &world.look(&eye(&calibration))).unwrap();
        assert!((ruler.factor() / unit).ln().abs() < 0.03, "{unit} {}", ruler.factor());
        let analysis = analyse(&calibration, &world);
        assert_eq!(analysis.scale, Scale::Floor);
        let distance = analysis.ahead.unwrap().distance;
        assert!((distance / 2.2).ln().abs() < 0.06, "{unit} {distance}");
    }
}

#[test]
fn a_table_top_is_no_floor() {
    // A low platform beside the path and a free floor: the ruler must stay with the floor.
    let platform = Block::still([1.0, 0.5, 0.0], [3.0, 1.5, 0.3]);
    let calibration = robot();
    let world = World::new(vec![platform], 0.25, 0.4);
    let ruler = Ruler::measure(&eye(&calibration), &world.look(&eye(&calibration))).unwrap();
    assert!(ruler.factor().ln().abs() < 0.05, "{}", ruler.factor());
    assert!(analyse(&calibration, &world).ahead.is_none());
}

#[test]
fn the_way_driven_gives_metres_where_no_floor_is_seen() {
    let calibration = robot();
    let mut world = World::new(vec![wall(0.9)], 0.26, 0.4);
    (world.unit, world.noise) = (3.1, 0.02);
    for (odometry, scale) in [(Some(0.65), Scale::Speed), (None, Scale::AssumedSpeed)] {
        let analysis = look_at(&mut Analyst::new(&calibration, eye(&calibration)), &world, odometry);
        assert_eq!(analysis.scale, scale);
        let distance = analysis.ahead.unwrap().distance;
        assert!((distance / 0.9).ln().abs() < 0.1, "{distance}");
        assert!((analysis.contact.unwrap() - 0.9 / 0.65).abs() < 0.1);
    }
}

#[test]
fn a_robot_slower_than_assumed_is_not_told_that_things_are_far() {
    let calibration = robot();
    let mut analyst = Analyst::new(&calibration, eye(&calibration));
    assert_eq!(look_at(&mut analyst, &World::new(vec![wall(2.2)], 0.25, 0.4), None).scale, Scale::Floor);
    // A third of the calibrated speed.
    let analysis = look_at(&mut analyst, &World::new(vec![wall(0.9)], 0.09, 0.4), None);
    assert_eq!(analysis.scale, Scale::AssumedSpeed);
    let distance = analysis.ahead.unwrap().distance;
    assert!(distance < 1.1, "{distance}");
    // Nor if the network's depth grows meanwhile, and not until metres are measured again.
    let mut world = World::new(vec![wall(0.85)], 0.05, 0.4);
    world.unit = 2.0;
    let analysis = look_at(&mut analyst, &world, None);
    assert_eq!(analysis.scale, Scale::AssumedSpeed);
    assert!(analysis.ahead.unwrap().distance <= distance);
    assert_eq!(analysis.zones[1].distance, analysis.ahead.map(|a| a.distance));
    let analysis = look_at(&mut analyst, &World::new(vec![wall(2.2)], 0.25, 0.4), None);
    assert_eq!(analysis.scale, Scale::Floor);
    assert!(analysis.ahead.unwrap().distance > 2.0);
}

#[test]
fn without_floor_height_and_speed_there_is_no_scale_but_contact() {
    let mut calibration = robot();
    calibration.camera.above_floor = None;
    calibration.robot.speed = None;
    let analysis = analyse(&calibration, &World::new(vec![wall(0.9)], 0.26, 0.4));
    assert_eq!(analysis.scale, Scale::None);
    assert!((analysis.contact.unwrap() - 0.9 / 0.65).abs() < 0.1, "{:?}", analysis.contact);
}

#[test]
fn motion_is_found_with_its_turn_and_length() {
    let calibration = robot();
    let eye = eye(&calibration);
    let mut world = World::new(vec![Block::still([2.0, 0.5, 0.0], [2.5, 1.0, 1.0])], 0.3, 0.4);
    let turn = UnitQuaternion::from_euler_angles(0.004, -0.006, 0.02);
    world.key_from_current = Isometry3::from_parts(Vector3::new(0.3, 0.02, 0.0).into(), turn);
    let look = world.look(&eye);
    let index = |m: &crate::Match| m.current[1] as usize * eye.size[0] + m.current[0] as usize;
    let points: Vec<_> =
        look.matches.iter().map(|m| eye.point(index(m), f64::from(look.depth[index(m)]))).collect();
    let motion = Motion::measure(&eye, &look.matches, &points, None, 0.02).unwrap();
    assert!((motion.ahead() - 0.3).abs() < 0.02, "{motion:?}");
    assert!(motion.key_from_current.rotation.angle_to(&turn) < 0.004, "{motion:?}");
    assert!(motion.agree > 0.95 && motion.parallax_px > 2.0);
}

#[test]
fn a_turn_in_place_has_no_parallax_and_no_contact() {
    let calibration = robot();
    let mut world = World::new(vec![wall(2.0)], 0.0, 0.4);
    world.key_from_current.rotation = UnitQuaternion::from_euler_angles(0.0, 0.0, 0.1);
    let eye = eye(&calibration);
    let look = world.look(&eye);
    let analysis = Analyst::new(&calibration, eye).analyse(&look, 1.0, Some(0.0), &|_| 0.15);
    assert!(analysis.parallax_px.unwrap() < 0.5, "{:?}", analysis.parallax_px);
    assert_eq!(analysis.contact, None);
    assert!((analysis.ahead.unwrap().distance / 2.0).ln().abs() < 0.06);
}

#[test]
fn the_corridor_is_the_robots_and_no_wider() {
    let calibration = robot();
    let post = |left: f64| Block::still([1.5, left - 0.05, 0.0], [1.6, left + 0.05, 1.0]);
    let ahead =
        |left| analyse(&calibration, &World::new(vec![post(left)], 0.25, 0.4)).ahead.map(|a| a.distance);
    assert!((ahead(0.2).unwrap() - 1.5).abs() < 0.1);
    assert!((ahead(-0.2).unwrap() - 1.5).abs() < 0.1);
    assert_eq!(ahead(0.45), None);
    assert_eq!(ahead(-0.45), None);
    // What is above the robot is none of its business.
    let beam = Block::still([1.5, -1.0, 1.3], [1.7, 1.0, 1.5]);
    assert!(analyse(&calibration, &World::new(vec![beam], 0.25, 0.4)).ahead.is_none());
    let mut tall = calibration.clone();
    tall.robot.high = 1.5;
    let low_beam = Block::still([2.5, -1.0, 1.1], [2.7, 1.0, 1.4]);
    assert!(
        (analyse(&tall, &World::new(vec![low_beam], 0.25, 0.4)).ahead.unwrap().distance - 2.5).abs() < 0.15
    );
    // A camera that is not in the robot's middle, and behind its front.
    let mut moved = calibration.clone();
    (moved.camera.left_of_middle, moved.camera.behind_front) = (0.3, 0.2);
    let analysis = analyse(&moved, &World::new(vec![post(-0.45)], 0.25, 0.4));
    assert!((analysis.ahead.unwrap().distance - 1.3).abs() < 0.1);
}

#[test]
fn a_corridor_outside_of_the_picture_is_said_so() {
    let mut calibration = robot();
    let seen = |calibration: &Calibration| analyse(calibration, &World::new(vec![], 0.25, 0.4)).seen;
    assert!(seen(&calibration) > 0.6, "{}", seen(&calibration));
    calibration.camera.yaw = 50.0;
    assert!(seen(&calibration) < 0.2, "{}", seen(&calibration));
}

#[test]
fn what_crosses_is_seen_coming_from_its_side() {
    let calibration = robot();
    let beside = |moved: [f64; 3]| {
        let block = Block { moved, ..Block::still([1.6, 0.6, 0.0], [2.0, 1.1, 0.9]) };
        analyse(&calibration, &World::new(vec![block], 0.26, 0.4))
    };
    let coming = beside([0.0, -0.24, 0.0]);
    let mover = coming.movers[0].unwrap();
    assert!((mover.speed + 0.6).abs() < 0.2, "{mover:?}");
    assert!((coming.entry.unwrap().after - 0.3 / 0.6).abs() < 0.3, "{:?}", coming.entry);
    assert!(coming.zones[0].change.unwrap() > 0.1 && coming.zones[2].change.unwrap() < 0.05);
    assert_eq!(beside([0.0; 3]).movers, [None; 2]);
    // What goes away is no danger.
    assert_eq!(beside([0.0, 0.24, 0.0]).entry, None);
}

#[test]
fn growth_gives_the_ratio_of_distances() {
    let calibration = robot();
    let look = World::new(vec![wall(1.0)], 0.25, 0.4).look(&eye(&calibration));
    let [growth, sigma] = expansion(&look.matches).unwrap();
    assert!((growth - 1.25).abs() < 0.01 && sigma < 0.01, "{growth} {sigma}");
    assert_eq!(expansion(&look.matches[..5]), None);
}

#[test]
fn looming_overrules_depth_that_is_too_far() {
    // The network sees everything twice as far as it is, and the floor, too: only growth tells.
    let calibration = robot();
    let block = Block::still([0.8, -0.3, 0.0], [1.2, 0.3, 1.1]);
    let eye = eye(&calibration);
    let mut look = World::new(vec![block], 0.26, 0.4).look(&eye);
    for (i, depth) in look.depth.iter_mut().enumerate() {
        let at = eye.point(i, f64::from(*depth));
        if at.z > 0.02 && (0.75..1.25).contains(&at.x) {
            *depth *= 2.0;
        }
    }
    let robot = calibration.robot.clone();
    let analysis =
        Analyst::new(&calibration, eye).analyse(&look, 1.0, None, &|v| stopping_distance(&robot, v, 0.3));
    let distance = analysis.ahead.unwrap().distance;
    assert!(distance < 1.0, "{distance}");
}
