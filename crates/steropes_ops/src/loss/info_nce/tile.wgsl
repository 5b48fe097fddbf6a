struct Params { rows: u32, groups: u32, items: u32, scale: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<Elem>;
@group(0) @binding(1) var<storage, read> b: array<Elem>;

// Rows of b, and two numbers beside each.
var<workgroup> tile: array<f32, TILE * (WIDTH + 2u)>;

// The product or the squared distance of an invocation's row with row k of the tile.
fn raw_of(own: ptr<function, array<f32, WIDTH>>, k: u32) -> f32 {
    var sum = 0.0;
    for (var c = 0u; c < WIDTH; c++) {
        let other = tile[k * (WIDTH + 2u) + c];
        if (EUCLIDEAN) {
            let step = (*own)[c] - other;
            sum += step * step;
        } else {
            sum += (*own)[c] * other;
        }
    }
    return sum;
}
fn similarity_of(raw: f32) -> f32 {
    if (EUCLIDEAN) {
        return params.scale / (1.0 + sqrt(raw));
    }
    return raw * params.scale;
}
