//! The one list of rules: whoever has an implementation of [`super::MasterUnderTest`] makes a test of each
//! with a macro, so that none is forgotten in one place.

/// Makes a test of each rule, in modules like those here. To be called with a type that is a
/// [`MasterUnderTest`](crate::testing::MasterUnderTest) and [`Default`], by a path from a crate.
#[macro_export]
macro_rules! rules_of_masters {
    ($master:ty) => {
        $crate::tests_of_rules! {
            $master;
            scheduling:
                without_limits_spread_out,
                without_limits_consolidated,
                with_more_memory_spread_out,
                with_more_memory_consolidated,
                with_max_cores_spread_out,
                with_max_cores_consolidated,
                with_cores_per_executor_spread_out,
                with_cores_per_executor_consolidated,
                with_cores_per_executor_and_max_cores_spread_out,
                with_cores_per_executor_and_max_cores_consolidated,
                with_executor_limit_spread_out,
                with_executor_limit_consolidated,
                with_executor_limit_and_max_cores_spread_out,
                with_executor_limit_and_max_cores_consolidated,
                with_executor_limit_and_cores_per_executor_spread_out,
                with_executor_limit_and_cores_per_executor_consolidated,
                with_all_limits_spread_out,
                with_all_limits_consolidated,
                workers_with_fewest_free_cores_come_first,
                workers_with_most_free_cores_come_first,
                workers_with_least_free_memory_come_first,
                workers_with_most_free_memory_come_first,
                workers_come_in_order_of_id,
                applications_are_served_in_order_of_registration,
                a_core_that_is_freed_is_used_by_whoever_waits,
                default_cores_bound_those_that_say_nothing,
                the_state_names_the_policy,
            ;
            drivers:
                no_more_drivers_run_at_once_than_max_drivers,
                a_driver_that_the_limit_holds_back_is_not_forgotten,
                drivers_are_spread_out,
                drivers_are_packed_where_the_configuration_says_so,
                a_driver_is_launched_and_its_end_is_noted,
                a_report_that_a_driver_runs_is_refused,
                a_driver_that_fits_nowhere_waits_alone,
                a_driver_without_cores_or_memory_is_refused,
                what_a_worker_runs_without_the_masters_knowledge_is_killed,
                a_kill_ends_what_waits_and_is_passed_on_for_what_runs,
                all_drivers_can_be_killed_at_once,
                a_supervised_driver_of_a_lost_worker_is_relaunched_elsewhere,
                other_drivers_of_a_lost_worker_are_over,
                a_driver_gets_addresses_of_the_resources_that_it_needs,
                drivers_that_ended_are_listed_up_to_a_number,
            ;
            names:
                ids_of_drivers_follow_their_pattern,
                a_pattern_with_white_space_is_refused_at_the_start,
                ids_of_applications_follow_their_pattern,
                ids_have_time_and_number,
                numbers_of_applications_begin_again_after_the_modulo,
                an_id_that_is_taken_is_passed_over,
                the_id_of_an_application_may_be_its_name,
                the_name_of_a_submitted_application_may_be_the_id_of_its_driver,
            ;
            profiles:
                each_profile_gets_executors_of_its_own,
                max_cores_bound_all_profiles_together,
                other_profiles_inherit_cores_and_memory_but_no_other_resources,
                driver_and_executor_get_addresses_of_their_own,
                a_resource_that_is_named_twice_is_needed_with_both_amounts,
            ;
            workers:
                a_worker_is_told_the_address_that_it_dialled,
                a_worker_that_registers_again_is_a_duplicate,
                another_id_at_the_same_place_replaces_the_worker_that_was_there,
                the_id_of_a_live_worker_is_refused_from_another_place,
                a_worker_that_offers_nothing_or_has_a_bad_id_is_refused,
                workers_of_one_host_are_told_apart_by_their_names,
                a_disconnect_loses_a_worker_with_its_executors,
                a_silent_worker_is_lost_and_one_that_beats_is_not,
                a_lost_worker_that_is_heard_of_is_asked_to_register_again,
                a_worker_that_the_master_never_saw_is_asked_to_register_again,
                a_lost_worker_is_forgotten_after_a_while,
                an_executor_that_its_worker_does_not_run_any_more_is_lost,
                reports_of_strangers_change_nothing,
            ;
            applications:
                an_executor_is_told_to_worker_and_application,
                an_application_that_registers_again_keeps_its_id,
                another_application_of_the_same_client_ends_the_one_before,
                an_application_that_ends_frees_what_it_used,
                an_application_whose_client_is_disconnected_is_over,
                an_application_can_be_killed,
                targets_are_absolute_and_lowering_one_kills_nothing,
                an_executor_that_is_killed_is_replaced_up_to_the_target,
                an_application_whose_executors_only_fail_is_given_up,
                failures_are_forgiven_by_an_executor_that_runs,
                failures_do_not_end_an_application_without_limit_or_with_an_executor,
                applications_that_ended_are_listed_up_to_a_number,
                an_application_has_so_many_profiles_at_most,
                each_client_is_told_of_its_own_application,
            ;
            allocation:
                without_limits_an_executor_on_each_worker_up_to_the_target,
                with_few_max_cores_one_executor_may_take_all_of_them,
                with_many_max_cores_what_one_worker_has_not_comes_from_the_other,
                with_cores_per_executor_targets_count_executors,
                with_cores_per_executor_max_cores_bound_them_below_the_target,
                an_executor_is_killed_once,
                what_replaces_an_executor_is_not_killed_by_the_old_number,
                the_first_target_is_that_of_the_registration,
            ;
            decommission:
                all_workers_of_a_host_are_taken_out_of_service,
                hosts_without_workers_count_for_nothing,
                hosts_that_are_known_count_beside_those_that_are_not,
                what_runs_on_a_worker_out_of_service_works_on_and_does_not_count,
                an_application_that_ends_kills_what_it_has_on_workers_out_of_service,
                a_worker_out_of_service_that_leaves_is_dead,
            ;
            recovery:
                without_recovery_nothing_is_taken_up,
                a_driver_alone_is_recovered_at_once,
                all_that_answers_is_recovered_as_it_was,
                addresses_are_recovered_with_those_who_have_them,
                a_new_worker_is_taken_during_recovery,
                a_worker_that_registers_during_recovery_is_waited_for_until_it_tells_what_it_runs,
                an_application_that_registers_again_during_recovery_has_answered,
                what_does_not_answer_is_given_up_when_the_time_is_over,
                who_is_disconnected_is_not_waited_for,
                who_is_gone_when_another_master_comes_is_not_waited_for,
                an_application_without_executors_waits_after_recovery,
                queued_drivers_are_queued_again,
                drivers_that_nobody_runs_any_more_are_relaunched_or_over,
                a_driver_whose_launch_never_arrived_is_launched,
                a_kill_is_passed_on_again_after_recovery,
                targets_are_recovered,
                a_worker_out_of_service_is_recovered_as_such,
                what_is_over_is_not_recovered,
                what_nobody_knows_is_killed_during_recovery,
                submissions_wait_while_it_recovers,
                recovery_works_again_and_again,
                numbers_of_executors_are_not_used_again,
                numbers_of_ids_are_not_used_again,
            ;
            repair:
                a_driver_that_ends_without_a_word_takes_its_application_along,
                what_a_worker_does_not_run_when_it_is_registered_again_is_given_up,
                what_is_launched_after_a_registration_is_not_given_up,
                a_kill_that_a_worker_lost_is_passed_on_again,
                a_client_that_registers_again_is_told_of_its_executors,
                a_worker_out_of_service_that_comes_back_is_still_out_of_service,
                messages_of_a_worker_from_another_place_count_for_nothing,
                a_lost_worker_that_tells_what_it_runs_is_asked_to_register_again,
                a_report_that_comes_before_its_worker_told_what_it_runs_is_not_noted,
                a_worker_that_registers_again_may_offer_something_else,
                a_description_that_is_too_long_is_refused,
                a_worker_that_comes_back_finds_its_driver_elsewhere,
            ;
            swap:
                a_swap_keeps_all_that_the_master_knows,
                a_silent_worker_is_lost_over_a_swap,
                a_recovery_goes_on_over_a_swap,
            ;
        }
    };
}

/// As [`rules_of_masters!`](crate::rules_of_masters), for a type that is a
/// [`StandbyUnderTest`](crate::testing::StandbyUnderTest) as well: the rules that need it.
#[macro_export]
macro_rules! rules_of_standbys {
    ($master:ty) => {
        $crate::tests_of_rules! {
            $master;
            standby:
                workers_are_told_that_it_stands_by,
                applications_hear_nothing,
                clients_are_told_to_ask_another_master,
                reports_are_not_noted,
                questions_are_answered,
                who_takes_a_standby_for_its_master_learns_better,
                who_came_to_a_standby_is_called_when_it_leads,
            ;
            leading:
                one_that_leads_no_more_knows_nothing_and_stands_by,
                nothing_of_a_term_is_in_the_next,
                elected_again_it_takes_up_what_was_written_down,
                what_came_between_two_terms_is_taken_up,
                a_recovery_that_is_broken_off_begins_anew,
                told_twice_it_leads_once,
                a_kill_of_all_drivers_outlives_the_term,
                terms_use_no_number_of_an_executor_twice,
            ;
        }
    };
}

/// What both are made of.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_of_rules {
    ($master:ty; $($module:ident: $($rule:ident,)+;)+) => {
        $(mod $module {
            $(#[test]
            fn $rule() {
                $crate::testing::$module::$rule(&mut <$master>::default());
            })+
        })+
    };
}
