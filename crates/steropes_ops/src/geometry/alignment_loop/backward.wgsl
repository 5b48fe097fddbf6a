// From derivatives by cameras to a step of Adam, by one workgroup: each image alone, the tree from its leaves to the root, sums
// over all images (loss, global scale, shared intrinsics), then each image alone again.
//
// Header: THREADS, EDGE, BY_VIEW, DECAY, EPSILON; view.wgsl, image.wgsl.

struct Params {
    images: u32,
    levels: u32,
    edges: u32,
    iteration: u32,
    // Bit k: parameter k moves.
    moves: u32,
    shared_intrinsics: u32,
    apply: u32,
    rate: f32,
    root: f32,
    // Weights of the priors divided by the number of images.
    focal_prior: f32,
    principal_prior: f32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> topology: array<u32>;
@group(0) @binding(1) var<storage, read_write> images: array<f32>;
@group(0) @binding(2) var<storage, read> views: array<f32>;
@group(0) @binding(3) var<storage, read> smallest: array<f32>;
@group(0) @binding(4) var<storage, read> by_edges: array<f32>;
@group(0) @binding(5) var<storage, read> by_views: array<f32>;
@group(0) @binding(6) var<storage, read> block_sums: array<f32>;
@group(0) @binding(7) var<storage, read_write> losses: array<f32>;

var<workgroup> shared_values: array<vec4<f32>, THREADS>;

fn sum(x: vec4<f32>, thread: u32) -> vec4<f32> {
    shared_values[thread] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            shared_values[thread] += shared_values[thread + half];
        }
    }
    workgroupBarrier();
    let result = shared_values[0];
    workgroupBarrier();
    return result;
}

// Sums over the anchors of an image: derivatives by depth plain, times (relative depth - 1), times depth.
fn depth_sums(i: u32) -> vec3<f32> {
    let list = 4u * params.images + params.levels + 1u;
    var total = vec3<f32>();
    for (var b = topology[list + i]; b < topology[list + i + 1u]; b++) {
        total += vec3<f32>(block_sums[3u * b], block_sums[3u * b + 1u], block_sums[3u * b + 2u]);
    }
    return total;
}

// What an image's camera and depths mean for its rotation, place, size and intrinsics; returns the derivative by the global
// scale.
fn one_image(i: u32) -> f32 {
    let by = i * BY_VIEW;
    let global = 1.0 / smallest[0];
    let by_depths = depth_sums(i);
    let rotation = rotation_of(i);
    let median = of_image(i, MEDIAN_DEPTH);
    let base = of_image(i, BASE_FOCAL);
    let focal = of_view(i, FOCAL);
    let size = of_image(i, SIZE);
    let by_scale = by_views[by + SCALE];
    // The centre is global (place - rotation offset), offset = distance direction.
    let center = vec3<f32>(by_views[by + 9u], by_views[by + 10u], by_views[by + 11u]);
    let by_global = by_depths.z / global + size * by_scale + dot(center, center_of(i)) / global;
    let direction = vec3<f32>(of_image(i, DIRECTION), of_image(i, DIRECTION + 1u), 1.0);
    let offset = of_image(i, DISTANCE) * direction;
    let by_offset = -global * (transpose(rotation) * center);
    let rows = mat3x3<f32>(
        by_views[by], by_views[by + 1u], by_views[by + 2u],
        by_views[by + 3u], by_views[by + 4u], by_views[by + 5u],
        by_views[by + 6u], by_views[by + 7u], by_views[by + 8u],
    );
    let moved = global * center;
    let outer = mat3x3<f32>(moved * offset.x, moved * offset.y, moved * offset.z);
    set_matrix(i, BY_ROTATION, transpose(rows) - outer);
    set_vector(i, BY_PLACE, moved);
    let by_distance = global * by_depths.x + dot(by_offset, direction);
    let by_direction = of_image(i, DISTANCE) * by_offset.xy;
    let by_principal =
        vec2<f32>(by_views[by + PRINCIPAL], by_views[by + PRINCIPAL + 1u]) - by_direction / focal;
    let by_focal = by_views[by + FOCAL] - by_views[by + RELIEF] * base / (focal * focal)
        - dot(by_direction, direction.xy) / focal + by_distance * size * median / base;
    // distance = size median focal / base
    set_number(i, BY_SIZE, global * (median * by_depths.y + by_scale) + by_distance * median * focal / base);
    set_number(i, GRADIENT + 8u, select(0.0, focal * by_focal, of_image(i, FOCAL_IS_FREE) == 1.0));
    set_number(i, GRADIENT + 9u, by_principal.x * of_image(i, SIDES));
    set_number(i, GRADIENT + 10u, by_principal.y * of_image(i, SIDES + 1u));
    return by_global;
}

// Derivatives by an image's rotation and place take in those of its children.
fn gather_children(i: u32) {
    let list = 2u * params.images + params.levels + 1u;
    var by_rotation = matrix_in(i, BY_ROTATION);
    var by_place = vector_of(i, BY_PLACE);
    for (var n = topology[list + i]; n < topology[list + i + 1u]; n++) {
        let child = topology[list + params.images + 1u + n];
        let place = vector_of(child, BY_PLACE);
        let t = vector_of(child, PARAMETERS + 4u);
        by_rotation += matrix_in(child, BY_ROTATION) * transpose(matrix_in(child, TURN))
            + mat3x3<f32>(place * t.x, place * t.y, place * t.z);
        by_place += place;
    }
    set_matrix(i, BY_ROTATION, by_rotation);
    set_vector(i, BY_PLACE, by_place);
}

// Derivative by a quaternion of any length, given that by its matrix; m[column][row].
fn by_quaternion(quaternion: vec4<f32>, m: mat3x3<f32>) -> vec4<f32> {
    let inverse = 1.0 / sqrt(dot(quaternion, quaternion));
    let q = quaternion * inverse;
    let plus = vec3<f32>(m[2].y + m[1].z, m[2].x + m[0].z, m[1].x + m[0].y);
    let minus = vec3<f32>(m[1].z - m[2].y, m[2].x - m[0].z, m[0].y - m[1].x);
    let by_unit = 2.0 * vec4<f32>(
        q.x * (m[0].x - m[1].y - m[2].z) + q.y * plus.z + q.z * plus.y + q.w * minus.x,
        q.y * (m[1].y - m[0].x - m[2].z) + q.x * plus.z + q.z * plus.x + q.w * minus.y,
        q.z * (m[2].z - m[0].x - m[1].y) + q.x * plus.y + q.y * plus.x + q.w * minus.z,
        q.w * (m[0].x + m[1].y + m[2].z) + q.x * minus.x + q.y * minus.y + q.z * minus.z,
    );
    return (by_unit - q * dot(by_unit, q)) * inverse;
}

// The rest of an image's derivatives; returns the loss of its priors.
fn finish_gradient(i: u32, by_global: f32) -> f32 {
    let parent = parent_of(i);
    var by_rotation = matrix_in(i, BY_ROTATION);
    var by_place = vector_of(i, BY_PLACE);
    if (parent != i) {
        let back = transpose(rotation_of(parent));
        by_rotation = back * by_rotation;
        by_place = back * by_place;
    }
    let q = by_quaternion(quaternion_of(i), by_rotation);
    set_vector(i, GRADIENT, q.xyz);
    set_number(i, GRADIENT + 3u, q.w);
    set_vector(i, GRADIENT + 4u, by_place);
    let size = of_image(i, SIZE);
    var by_size = of_image(i, BY_SIZE);
    if (size == smallest[0]) {
        by_size -= by_global / (smallest[0] * smallest[0] * smallest[1]);
    }
    set_number(i, GRADIENT + 7u, size * by_size);
    let d = of_image(i, PARAMETERS + 8u);
    var loss = params.focal_prior * d * d;
    set_number(i, GRADIENT + 8u, of_image(i, GRADIENT + 8u) + 2.0 * params.focal_prior * d);
    for (var k = 0u; k < 2u; k++) {
        let e = of_image(i, PARAMETERS + 9u + k) - of_image(i, START_CENTER + k);
        loss += params.principal_prior * e * e;
        set_number(i, GRADIENT + 9u + k, of_image(i, GRADIENT + 9u + k) + 2.0 * params.principal_prior * e);
    }
    return loss;
}

fn adam(i: u32) {
    for (var k = 0u; k < 11u; k++) {
        if (((params.moves >> k) & 1u) == 1u) {
            let g = of_image(i, GRADIENT + k);
            let mean = of_image(i, MEANS + k) + (1.0 - DECAY) * (g - of_image(i, MEANS + k));
            let square = of_image(i, SQUARES + k) + (1.0 - DECAY) * (g * g - of_image(i, SQUARES + k));
            set_number(i, MEANS + k, mean);
            set_number(i, SQUARES + k, square);
            let step = params.rate * mean / (sqrt(square) * params.root + EPSILON);
            set_number(i, PARAMETERS + k, of_image(i, PARAMETERS + k) - step);
        }
    }
    let q = quaternion_of(i);
    let unit = q / sqrt(dot(q, q));
    set_vector(i, PARAMETERS, unit.xyz);
    set_number(i, PARAMETERS + 3u, unit.w);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var totals = vec4<f32>();
    for (var i = thread; i < params.images; i += THREADS) {
        totals.x += one_image(i);
    }
    for (var e = thread; e < params.edges; e += THREADS) {
        totals.y += by_edges[e * EDGE + 2u * BY_VIEW];
    }
    totals = sum(totals, thread);
    for (var up = 1u; up < params.levels; up++) {
        let level = params.levels - 1u - up;
        meet();
        for (var n = level_start(level) + thread; n < level_start(level + 1u); n += THREADS) {
            gather_children(topology[n]);
        }
    }
    meet();
    // Loss of the priors, and the derivatives by shared intrinsics.
    var rest = vec4<f32>();
    for (var i = thread; i < params.images; i += THREADS) {
        rest.x += finish_gradient(i, totals.x);
        rest += vec4<f32>(0.0, vector_of(i, GRADIENT + 8u));
    }
    rest = sum(rest, thread);
    if (thread == 0u) {
        losses[params.iteration] = totals.y + rest.x;
    }
    for (var i = thread; i < params.images; i += THREADS) {
        if (params.shared_intrinsics == 1u) {
            set_vector(i, GRADIENT + 8u, rest.yzw);
        }
        if (params.apply == 1u) {
            adam(i);
        }
    }
}
