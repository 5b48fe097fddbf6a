// One matrix of at most 4 x 4 for each invocation, in registers: every column is a vector, padded with zeros.
//
// Header: LENGTH and WIDTH (longer and shorter side), TRANSPOSED, VECTORS, LONG (long vectors, at least WIDTH), ROWS,
// COLUMNS, LEFT (columns of u), put_u, put_vh, the text of turn.wgsl.

struct Params { count: u32, a_shift: u32, s_shift: u32, u_shift: u32, vh_shift: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> s: array<f32>;

const SWEEPS: u32 = 20u;

fn put_long(matrix: u32, entry: u32, vector: u32, x: f32) {
    if (TRANSPOSED) {
        put_vh(params.vh_shift + (matrix * LONG + vector) * COLUMNS + entry, x);
    } else {
        put_u(params.u_shift + (matrix * ROWS + entry) * LEFT + vector, x);
    }
}

fn put_short(matrix: u32, entry: u32, vector: u32, x: f32) {
    if (TRANSPOSED) {
        put_u(params.u_shift + (matrix * ROWS + entry) * LEFT + vector, x);
    } else {
        put_vh(params.vh_shift + (matrix * WIDTH + vector) * COLUMNS + entry, x);
    }
}

fn unit(axis: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(axis));
}

// -1 where the sign rule turns the vector round, else 1.
fn sign_of(x: vec4<f32>) -> f32 {
    let size = abs(x);
    let equal = 0.999 * max(max(size.x, size.y), max(size.z, size.w));
    var first = x.w;
    if (size.z >= equal) { first = x.z; }
    if (size.y >= equal) { first = x.y; }
    if (size.x >= equal) { first = x.x; }
    return select(1.0, -1.0, first < 0.0);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = (group.x + group.y * 32768u) * 64u + thread;
    if (matrix >= params.count) { return; }
    var x: array<vec4<f32>, LONG>;
    var v: array<vec4<f32>, WIDTH>;
    var largest = 0u;
    let first = params.a_shift + matrix * (LENGTH * WIDTH);
    for (var i = 0u; i < LENGTH * WIDTH; i++) { largest = max(largest, a[first + i] & 0x7fffffffu); }
    let scale = scale_of(largest);
    if (largest >= 0x7f800000u) {
        let nan = bitcast<f32>(params.nan);
        for (var c = 0u; c < WIDTH; c++) { s[params.s_shift + matrix * WIDTH + c] = nan; }
        for (var c = 0u; c < LONG; c++) { for (var r = 0u; r < LENGTH; r++) { put_long(matrix, r, c, nan); } }
        for (var c = 0u; c < WIDTH; c++) { for (var r = 0u; r < WIDTH; r++) { put_short(matrix, r, c, nan); } }
        return;
    }
    for (var c = 0u; c < WIDTH; c++) {
        var column = vec4<f32>();
        for (var r = 0u; r < LENGTH; r++) {
            column[r] = scale * bitcast<f32>(a[first + select(r * WIDTH + c, c * LENGTH + r, TRANSPOSED)]);
        }
        x[c] = column;
        v[c] = unit(c);
    }
    for (var sweep = 0u; sweep < SWEEPS; sweep++) {
        var turned = false;
        for (var p = 0u; p + 1u < WIDTH; p++) {
            for (var q = p + 1u; q < WIDTH; q++) {
                let turn = turn_of(dot(x[p], x[p]), dot(x[q], x[q]), dot(x[p], x[q]), LENGTH);
                if (turn.turned) {
                    turned = true;
                    turn_columns(turn, &x, p, q);
                    turn_turns(turn, &v, p, q);
                }
            }
        }
        if (!turned) { break; }
    }
    var squares: array<f32, WIDTH>;
    for (var c = 0u; c < WIDTH; c++) { squares[c] = dot(x[c], x[c]); }
    for (var p = 0u; p + 1u < WIDTH; p++) {
        for (var q = p + 1u; q < WIDTH; q++) {
            if (squares[q] > squares[p]) {
                let square = squares[p];
                squares[p] = squares[q];
                squares[q] = square;
                let column = x[p];
                x[p] = x[q];
                x[q] = column;
                let row = v[p];
                v[p] = v[q];
                v[q] = row;
            }
        }
    }
    var known = 0u;
    for (var c = 0u; c < WIDTH; c++) {
        let some = squares[c] >= ZERO_SQUARE;
        let length = sqrt(select(1.0, squares[c], some));
        s[params.s_shift + matrix * WIDTH + c] = select(0.0, length * unscale_of(scale), some);
        x[c] = x[c] / length;
        known += u32(some);
    }
    if (VECTORS) {
        for (var c = known; c < LONG; c++) { complete(&x, c); }
        for (var c = 0u; c < LONG; c++) {
            // The vectors of u decide, and those that have none their own.
            var sign = sign_of(x[c]);
            if (c < WIDTH) {
                if (TRANSPOSED) { sign = sign_of(v[c]); }
                for (var r = 0u; r < WIDTH; r++) { put_short(matrix, r, c, sign * v[c][r]); }
            }
            for (var r = 0u; r < LENGTH; r++) { put_long(matrix, r, c, sign * x[c][r]); }
        }
    }
}

fn turned_columns(turn: Turn, x: vec4<f32>, y: vec4<f32>) -> mat2x4<f32> {
    let long = select(x, y, turn.swap);
    let short = select(y, x, turn.swap);
    return mat2x4<f32>(
        fma(vec4<f32>(turn.sine), fma(vec4<f32>(-turn.half), long, short), long),
        fma(vec4<f32>(-turn.sine), fma(vec4<f32>(turn.half), short, long), short));
}

fn turn_columns(turn: Turn, x: ptr<function, array<vec4<f32>, LONG>>, p: u32, q: u32) {
    let both = turned_columns(turn, (*x)[p], (*x)[q]);
    (*x)[p] = both[0];
    (*x)[q] = both[1];
}

fn turn_turns(turn: Turn, v: ptr<function, array<vec4<f32>, WIDTH>>, p: u32, q: u32) {
    let both = turned_columns(turn, (*v)[p], (*v)[q]);
    (*v)[p] = both[0];
    (*v)[q] = both[1];
}

// Vector `c` becomes what is left of the axis that the vectors before it contain least of.
fn complete(x: ptr<function, array<vec4<f32>, LONG>>, c: u32) {
    var contained = vec4<f32>();
    for (var k = 0u; k < c; k++) { contained += (*x)[k] * (*x)[k]; }
    var axis = 0u;
    for (var r = 1u; r < LENGTH; r++) { if (contained[r] < contained[axis]) { axis = r; } }
    var new_one = unit(axis);
    for (var again = 0u; again < 2u; again++) {
        for (var k = 0u; k < c; k++) { new_one -= dot(new_one, (*x)[k]) * (*x)[k]; }
    }
    (*x)[c] = new_one / sqrt(dot(new_one, new_one));
}
