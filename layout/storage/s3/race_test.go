package s3_test

func raceMain() bool { return false }
