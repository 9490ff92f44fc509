"""Each fault that trying the first version brought out, and the tests that it would fail."""

import re
from functools import cache
from pathlib import Path

import pytest

FAULTS = {
    "bands of a batch of k": {
        "band_structure/test_band_structure.py": ["test_batch_equals_each_k_alone"],
    },
    "crossings in the Fermi sea of disorder": {
        "disorder/test_disorder.py": [
            "test_sea_with_a_crossing_away_from_the_center",
            "test_crossing_above_the_fermi_energy",
            "test_crossing_near_the_fermi_energy_is_warned_of",
            "test_surface_without_a_plane_for_the_sea_is_nan_inside_jit",
            "test_what_is_refused_is_nan_inside_vmap",
        ],
    },
    "thermal averages over the edge of a band": {
        "disorder/test_disorder.py": [
            "test_thermal_average_at_a_band_edge",
            "test_thermal_average_at_the_onset_of_a_band",
        ],
    },
    "arrays of the caller are kept": {
        "integration/test_copies.py": [
            "test_what_a_user_changes_afterwards_changes_nothing",
            "test_levels_of_a_result_cannot_be_changed",
        ],
    },
    "globals and attributes of classes in H(k)": {
        "engine/test_identity.py": [
            "test_a_change_outside_of_fields_is_seen",
            "test_a_change_outside_of_fields_is_seen_by_sums",
            "test_every_compiled_entry_sees_a_change",
        ],
    },
    "identity of a computation": {
        "engine/test_checkpoint.py": [
            "test_other_code_of_the_model_is_refused",
            "test_a_table_anywhere_in_a_model_counts",
            "test_calls_of_python_are_refused",
        ],
        "engine/test_distributed.py": ["test_processes_with_different_models_are_refused"],
        "fitting/test_fitting.py": ["test_a_fit_of_other_data_does_not_go_on"],
    },
    "converged next to a narrow gap": {
        "integration/test_near_degeneracies.py": [
            "test_gap_at_the_centre_of_the_zone",
            "test_converged_means_converged",
            "test_fixed_mesh_warns_of_a_gap_it_does_not_resolve",
        ],
    },
    "gaps below a fixed tolerance": {
        "band_structure/test_degeneracy_tolerance.py": [
            "test_chern_number_in_any_unit_of_energy",
            "test_every_response_takes_it",
            "test_tolerance_that_swallows_the_bands_is_warned_of",
            "test_result_says_where_the_choice_of_groups_matters",
        ],
    },
    "errors that claim too little": {
        "integration/test_error_estimates.py": [
            "test_meshes_that_agree_are_no_evidence",
            "test_coverage_of_random_metals",
            "test_coverage_of_gaussian_noise",
            "test_a_pocket_between_all_nodes",
        ],
        "integration/test_honesty.py": ["test_reported_error_is_at_least_the_true_one"],
        "disorder/test_disorder.py": ["test_error_is_at_least_the_true_one"],
        "spin_transfer/test_spin_transfer.py": ["test_error_is_at_least_the_true_one"],
    },
    "memory in temperatures x levels": {
        "integration/test_levels.py": ["test_many_levels_and_temperatures_need_little_memory"],
    },
    "NaN in the integrand": {
        "integration/test_not_finite.py": [
            "test_k_and_bands_are_named",
            "test_a_slope_without_a_value_where_bands_meet",
        ],
    },
    "accepted and wrong": {
        "integration/test_wrong_calls.py": [
            "test_is_refused_in_one_line",
            "test_a_spin_in_another_unit_is_warned_of",
        ],
        "meshes/test_meshes.py": ["test_path_of_a_lattice_is_in_units_of_its_reciprocal_vectors"],
        "responses/test_files.py": [
            "test_save_refuses_another_ending",
            "test_save_does_not_overwrite",
        ],
        "models/test_topological_insulator.py": ["test_exchange_couples_to_the_spin_operator"],
        "models/test_hole_wells.py": ["test_germanium"],
    },
    "channels of a run without spinors": {
        "interop/test_iron.py": ["test_channels_of_iron_add_up_to_its_electrons"],
    },
    "files that are not ours": {
        "responses/test_files.py": [
            "test_a_forged_result_is_refused",
            "test_a_changed_result_is_refused",
            "test_a_foreign_file_is_refused",
            "test_a_forged_checkpoint_is_refused",
            "test_the_hash_is_of_all_that_counts",
        ],
    },
    "single precision": {
        "responses/test_precision.py": [
            "test_every_response_agrees_and_warns_of_nothing_false",
            "test_tolerance_is_that_of_the_real_part",
            "test_single_precision_is_never_stricter",
        ],
    },
    "gradient at the edges of a texture": {
        "spin_transfer/test_spin_transfer.py": ["test_gradient_is_of_second_order_at_the_edges"],
    },
    "Fermi energies": {
        "responses/test_fermi_energy.py": [
            "test_any_unit_of_energy",
            "test_sample_of_the_mesh_is_no_plane",
            "test_filled_band_gives_the_middle_of_the_gap",
        ],
    },
    "compositions of transformations": {
        "integration/test_transformations.py": [
            "test_of_model_mu_and_temperature",
            "test_of_k",
            "test_what_has_no_second_derivative",
        ],
        "integration/test_door.py": [
            "test_jit_gives_what_a_plain_call_gives",
            "test_spin_checks_and_bands_under_jit",
        ],
    },
    "messages": {
        "integration/test_wrong_calls.py": [
            "test_is_refused_in_one_line",
            "test_nested_lists_are_matrices",
            "test_a_small_scale_is_no_reason_to_refuse",
        ],
        "test_markdown.py": ["test_page"],
    },
    "units and prints": {
        "test_units.py": ["test_units_as_they_are_printed", "test_units_of_densities_and_torques"],
        "engine/test_terminal.py": ["test_a_response_prints_in_latin_letters"],
    },
    "requirements": {
        "test_packaging.py": [
            "test_the_package_imports_what_it_declares",
            "test_every_requirement_has_a_lower_bound_and_no_upper_one",
        ],
    },
    "processes": {
        "engine/test_distributed.py": ["test_a_port_in_use_is_refused"],
        "engine/test_programs.py": [
            "test_programs_are_dropped_where_the_process_has_many_mappings",
            "test_a_dropped_program_gives_its_mappings_back",
        ],
    },
}


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests of a file."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    return frozenset(re.findall(r"^def (test_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_tests(fault):
    for file, names in FAULTS[fault].items():
        assert set(names) <= names_in(file), file
