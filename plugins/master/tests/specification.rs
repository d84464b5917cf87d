//! The specification of a master, over its handlers. The rules themselves are in
//! `plugins/master/src/testing/`, where others use them as well.

master::rules_of_masters!(master::testing::native::Native);

master::rules_of_standbys!(master::testing::native::Native);
