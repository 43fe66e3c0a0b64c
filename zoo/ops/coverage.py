"""Which of mmcv's operators there are without a compiled mmcv: one list, from which ``docs/ops.md`` is written.

>>> python -m zoo.ops.coverage docs/ops.md
"""
import ast
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

BEGIN, END = '<!-- operators: written by python -m zoo.ops.coverage docs/ops.md -->', '<!-- end of operators -->'

MMCV = '2.1'


@dataclass(frozen=True)
class Operator:
    """An operator that the zoo provides.

    Attributes:
        names: what is imported from ``mmcv.ops``.
        kernels: the functions of ``mmcv._ext`` under it; none where mmcv's own Python needs none.
        by: what it is made of.
        note: options, limits and differences.
    """

    names: tuple[str, ...]
    kernels: tuple[str, ...]
    by: str
    note: str = ''


OPERATORS = (
    Operator(('nms', 'batched_nms'), ('nms',), 'torchvision.ops.nms', 'offset 0 and 1; class_agnostic, split_thr, every type'),
    Operator(('soft_nms',), ('softnms',), 'torch', 'naive, linear, Gaussian; on the CPU, as mmcv'),
    Operator(('nms_match',), ('nms_match',), 'torch'),
    Operator(('nms_rotated',), ('nms_rotated',), 'torch', 'also by label'),
    Operator(('box_iou_rotated',), ('box_iou_rotated',), 'torch', 'iou and iof, aligned or all pairs; no gradient, as mmcv'),
    Operator(('bbox_overlaps',), ('bbox_overlaps',), 'torch', 'iou and iof, aligned or all pairs'),
    Operator(('sigmoid_focal_loss', 'SigmoidFocalLoss'), ('sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward'),
             'torch', 'with class weights the background label has weight 1, where mmcv reads beyond the array'),
    Operator(('softmax_focal_loss', 'SoftmaxFocalLoss'), ('softmax_focal_loss_forward', 'softmax_focal_loss_backward'),
             'torch', "a negative label costs nothing; reduction 'none' has no gradient, as mmcv"),
    Operator(('roi_align', 'RoIAlign'), ('roi_align_forward', 'roi_align_backward'), 'torchvision.ops.roi_align',
             'aligned or not; avg by torchvision, max by torch (an empty region gives 0, in mmcv the least float)'),
    Operator(('roi_pool', 'RoIPool'), ('roi_pool_forward', 'roi_pool_backward'), 'torchvision.ops.roi_pool'),
    Operator(('deform_roi_pool', 'DeformRoIPool', 'DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'),
             ('deform_roi_pool_forward', 'deform_roi_pool_backward'), 'torch'),
    Operator(('border_align', 'BorderAlign'), ('border_align_forward', 'border_align_backward'), 'torch'),
    Operator(('deform_conv2d', 'DeformConv2d', 'DeformConv2dPack', 'SAConv2d'),
             ('deform_conv_forward', 'deform_conv_backward_input', 'deform_conv_backward_parameters'),
             'torchvision.ops.deform_conv2d', 'DCN, SAC; groups and deform_groups'),
    Operator(('modulated_deform_conv2d', 'ModulatedDeformConv2d', 'ModulatedDeformConv2dPack'),
             ('modulated_deform_conv_forward', 'modulated_deform_conv_backward'),
             'torchvision.ops.deform_conv2d', 'DCNv2; groups and deform_groups'),
    Operator(('MultiScaleDeformableAttention',), ('ms_deform_attn_forward', 'ms_deform_attn_backward'),
             'torch.nn.functional.grid_sample', "on the CPU mmcv's own Python; on CUDA the backward runs the forward again"),
    Operator(('carafe', 'CARAFE', 'CARAFEPack'), ('carafe_forward', 'carafe_backward'), 'torch.nn.functional.unfold'),
    Operator(('carafe_naive', 'CARAFENaive'), ('carafe_naive_forward', 'carafe_naive_backward'),
             'torch.nn.functional.unfold', 'mmcv asserts CUDA in its backward; CARAFE is the same function without that'),
    Operator(('masked_conv2d', 'MaskedConv2d'), ('masked_im2col_forward', 'masked_col2im_forward'), 'torch',
             'no gradient under a mask, as mmcv'),
    Operator(('psa_mask', 'PSAMask'), ('psamask_forward', 'psamask_backward'), 'torch', 'collect and distribute'),
    Operator(('tin_shift', 'TINShift'), ('tin_shift_forward', 'tin_shift_backward'), 'torch'),
    Operator(('SyncBatchNorm',),
             ('sync_bn_forward_mean', 'sync_bn_forward_var', 'sync_bn_forward_output', 'sync_bn_backward_param',
              'sync_bn_backward_data'), 'torch', "MMSyncBN; as mmcv's, it needs a process group"),
    Operator(('get_compiler_version', 'get_compiling_cuda_version'), ('get_compiler_version', 'get_compiling_cuda_version'),
             'text', "for mmengine's report on the environment"),
    Operator(('point_sample', 'rel_roi_point_to_rel_img_point', 'SimpleRoIAlign'), (), "mmcv's own Python"),
    Operator(('CornerPool', 'CrissCrossAttention', 'ConcatCell', 'GlobalPoolingCell', 'SumCell'), (), "mmcv's own Python"),
    Operator(('bias_act', 'fused_bias_leakyrelu', 'filtered_lrelu', 'upfirdn2d'), (), "mmcv's own Python",
             'on the CPU; their CUDA kernels are not provided'),
)


@cache
def mmcv_kernels() -> dict[str, tuple[str, ...]]:
    """What each module of the installed ``mmcv.ops`` asks of the compiled module: file name -> kernel names.

    Raises:
        ImportError: without mmcv.
    """
    spec = find_spec('mmcv')
    if spec is None:
        raise ImportError('mmcv is not installed: pip install mmcv-lite==2.1.0')
    found = {}
    for path in sorted((Path(spec.origin).parent / 'ops').glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'load_ext':
                found[path.stem] = tuple(ast.literal_eval(node.args[1]))
    return found


def missing() -> dict[str, tuple[str, ...]]:
    """The kernels of ``mmcv.ops`` that the zoo does not provide, by module."""
    provided = {name for operator in OPERATORS for name in operator.kernels}
    left = {module: tuple(n for n in names if n not in provided) for module, names in mmcv_kernels().items()}
    return {module: names for module, names in left.items() if names}


def table() -> str:
    """The Markdown tables of :data:`OPERATORS` and of what is missing."""
    lines = ['| operator | made of | notes |', '| --- | --- | --- |']
    for op in OPERATORS:
        lines.append(f'| {", ".join(f"`{name}`" for name in op.names)} | {op.by} | {op.note} |')
    names = []
    for module, kernels in missing().items():
        # a module of which a part is provided: its other kernels one by one
        names += [module] if len(kernels) == len(mmcv_kernels()[module]) else kernels
    lines += ['', f'Not provided, of `mmcv.ops` {MMCV}: {", ".join(f"`{name}`" for name in names)}.']
    return '\n'.join(lines)


def written(text: str) -> str:
    """``text`` with :func:`table` between its two marks.

    Raises:
        ValueError: where the marks are missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f'the page lacks the marks {BEGIN} and {END}')
    head, rest = text.split(BEGIN, 1)
    return f'{head}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}'


if __name__ == '__main__':
    page = Path(sys.argv[1])
    page.write_text(written(page.read_text(encoding='utf-8')), encoding='utf-8')
