// Cameras as `views`, VIEW numbers each: rotation by rows (9), centre (3), focal length, principal point (2), relief, scale of
// the cloud, and the depth of an anchor at unit scale as ZERO + MEDIAN * relative depth.

const VIEW: u32 = 20u;
const FOCAL: u32 = 12u;
const PRINCIPAL: u32 = 13u;
const RELIEF: u32 = 15u;
const SCALE: u32 = 16u;
const ZERO: u32 = 17u;
const MEDIAN: u32 = 18u;

fn vector_at(at: u32) -> vec3<f32> {
    return vec3<f32>(views[at], views[at + 1u], views[at + 2u]);
}

fn rotation_of(view: u32) -> mat3x3<f32> {
    let at = view * VIEW;
    return transpose(mat3x3<f32>(vector_at(at), vector_at(at + 3u), vector_at(at + 6u)));
}

fn center_of(view: u32) -> vec3<f32> {
    return vector_at(view * VIEW + 9u);
}

fn of_view(view: u32, field: u32) -> f32 {
    return views[view * VIEW + field];
}
