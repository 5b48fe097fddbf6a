// Images as `images`, IMAGE numbers each: parameters, their derivatives, moments, constants, and what the forward pass keeps for
// the backward pass. `topology` holds the kinematic tree: images level by level from the root, where the levels start, parents
// (the root's is itself), where children start, children; then where the blocks of anchors of every image start.
//
// One workgroup works on all images; its phases meet at `meet`.

const IMAGE: u32 = 92u;
// Quaternion x, y, z, w, translation, log size, log focal length over its start, principal point over the image's size.
const PARAMETERS: u32 = 0u;
const GRADIENT: u32 = 11u;
const MEANS: u32 = 22u;
const SQUARES: u32 = 33u;
const SIDES: u32 = 44u;
const BASE_FOCAL: u32 = 46u;
const MEDIAN_DEPTH: u32 = 47u;
const PIVOT: u32 = 48u;
const FOCAL_RANGE: u32 = 50u;
const START_FOCAL: u32 = 52u;
const START_CENTER: u32 = 53u;
// Rotation relative to the parent by rows, place of the pivot before the global scale, its distance and direction.
const TURN: u32 = 56u;
const PLACE: u32 = 65u;
const DISTANCE: u32 = 68u;
const SIZE: u32 = 69u;
const DIRECTION: u32 = 70u;
const FOCAL_IS_FREE: u32 = 72u;
// Derivatives by the absolute rotation, the place and the size.
const BY_ROTATION: u32 = 76u;
const BY_PLACE: u32 = 85u;
const BY_SIZE: u32 = 88u;

fn of_image(image: u32, field: u32) -> f32 {
    return images[image * IMAGE + field];
}

fn set_number(image: u32, field: u32, value: f32) {
    images[image * IMAGE + field] = value;
}

fn vector_of(image: u32, field: u32) -> vec3<f32> {
    let at = image * IMAGE + field;
    return vec3<f32>(images[at], images[at + 1u], images[at + 2u]);
}

fn set_vector(image: u32, field: u32, v: vec3<f32>) {
    let at = image * IMAGE + field;
    images[at] = v.x;
    images[at + 1u] = v.y;
    images[at + 2u] = v.z;
}

fn matrix_in(image: u32, field: u32) -> mat3x3<f32> {
    return transpose(mat3x3<f32>(vector_of(image, field), vector_of(image, field + 3u), vector_of(image, field + 6u)));
}

fn set_matrix(image: u32, field: u32, m: mat3x3<f32>) {
    let rows = transpose(m);
    set_vector(image, field, rows[0]);
    set_vector(image, field + 3u, rows[1]);
    set_vector(image, field + 6u, rows[2]);
}

fn quaternion_of(image: u32) -> vec4<f32> {
    return vec4<f32>(vector_of(image, PARAMETERS), of_image(image, PARAMETERS + 3u));
}

fn level_start(level: u32) -> u32 {
    return topology[params.images + level];
}

fn parent_of(image: u32) -> u32 {
    return topology[params.images + params.levels + 1u + image];
}

fn meet() {
    storageBarrier();
    workgroupBarrier();
}
