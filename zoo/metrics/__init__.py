"""Measures of networks: pure functions, and mmengine metrics on them.

>>> from zoo.metrics import accuracy, agreement, expected_calibration_error, linear_cka
"""
from zoo.metrics.accuracy import accuracy, topk_correct
from zoo.metrics.audit import center_shape, residual_correlation, shape_difference
from zoo.metrics.calibration import aurc, calibration_error, ece, expected_calibration_error, negative_log_likelihood
from zoo.metrics.classification import ClassificationMetric
from zoo.metrics.dual_head import dho_predict, dho_search
from zoo.metrics.fidelity import (
    agreement,
    ensemble_logits,
    predictive_kl,
    sharpness_gap,
    teacher_stddev,
    topk_agreement,
)
from zoo.metrics.generated import FeatureNetwork, GenerationMetric, generation_scores
from zoo.metrics.generation import feature_statistics, frechet_distance, precision_recall
from zoo.metrics.knowledge_points import knowledge_point_metrics, pixel_entropy, sigma_noise, sigma_objective
from zoo.metrics.leakage import (
    attack_success_rate,
    contamination_rate,
    leakage_transfer,
    reidentification_ratio,
    shuffle_tail_ratio,
)
from zoo.metrics.reconstruction import ReconstructionMetric
from zoo.metrics.similarity import linear_cka, minibatch_cka, preact_cka, unbiased_hsic

__all__ = [
    'ClassificationMetric', 'FeatureNetwork', 'GenerationMetric', 'ReconstructionMetric', 'accuracy', 'agreement',
    'attack_success_rate', 'aurc', 'calibration_error', 'center_shape', 'contamination_rate', 'dho_predict',
    'dho_search', 'ece', 'ensemble_logits', 'expected_calibration_error', 'feature_statistics', 'frechet_distance',
    'generation_scores', 'knowledge_point_metrics', 'leakage_transfer', 'linear_cka', 'minibatch_cka',
    'negative_log_likelihood', 'pixel_entropy', 'preact_cka', 'precision_recall', 'predictive_kl',
    'reidentification_ratio', 'residual_correlation', 'shape_difference', 'sharpness_gap', 'shuffle_tail_ratio',
    'sigma_noise', 'sigma_objective', 'teacher_stddev', 'topk_agreement', 'topk_correct', 'unbiased_hsic',
]
