package hdfs_test

func raceMain() bool { return false }
