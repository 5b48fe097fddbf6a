// Left rows are the patches of an image under a kernel, read where they lie. A patch is made of segments that are contiguous
// in the image: the channels under one tap, or under a whole row of taps where no tap can fall outside.
struct Row { at: u32, y: u32, x: u32 }
struct Step { k: u32, at: u32, y: u32, x: u32 }

// Coordinates before the image wrap around to numbers behind its end.
fn row_of(m: u32) -> Row {
    let pixel = min(m, params.rows - 1u);
    let line = pixel / params.out_width;
    let image = line / params.out_height;
    let y = (params.out_top + line - image * params.out_height) * params.stride - params.padding;
    let x = (pixel - line * params.out_width) * params.stride - params.padding;
    let lines = image * params.height + y - params.top;
    return Row(params.x_shift + (lines * params.width + x) * params.channels, y, x);
}

fn step_of(k: u32) -> Step {
    let s = k / params.segment;
    let y = s / params.across;
    let x = s - y * params.across;
    return Step(k, (y * params.width + x) * params.channels + k - s * params.segment, y, x);
}

fn is_inside(row: Row, step: Step) -> bool {
    return row.y + step.y < params.height && row.x + step.x < params.width;
}

fn floored(v: Elem4) -> Elem4 {
    if (RELU_INPUT) {
        return Elem4(relu(vec4<f32>(v)));
    }
    return v;
}
